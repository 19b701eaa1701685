function open_details(id) {
  const element = document.getElementById(id);
  if (element && element.tagName === "DETAILS") { element.open = true; element.scrollIntoView({block: "center"}); }
}
for (const mark of document.querySelectorAll("a.mark"))
  mark.addEventListener("click", () => open_details(mark.getAttribute("href").slice(1)));
if (location.hash) open_details(location.hash.slice(1));
