"""Supervision of a training loop of your own: a small network that learns a sine, at rates that diverge without it."""

import torch

from reports import TrainerOrder
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.runtime import DecisionSink, SupervisorRuntime
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor


class SineModel:
    actions = ("turn", "restart")

    def __init__(self, learning_rate: float) -> None:
        self.network = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=learning_rate, momentum=0.9)

    def execute(self, order: TrainerOrder) -> None:
        if order.action == "restart":
            self.__init__(self.optimizer.defaults["lr"])  # type: ignore[misc]
        multiplier = order.knobs["learning_rate_multiplier"]
        self.optimizer.param_groups[0]["lr"] = self.optimizer.defaults["lr"] * multiplier


def train(learning_rate: float, steps: int, on_decision: DecisionSink) -> float:
    model = SineModel(learning_rate)
    sizes = {"steps_per_evaluation": 50, "steps_per_epoch": 50, "planned_steps": steps}
    knobs = {"learning_rate_multiplier": KnobFacts(start=1.0, low=0.001, high=1.0)}
    facts = RunFacts(**sizes, peak_learning_rate=learning_rate, knobs=knobs, actions=model.actions)
    supervision = SupervisorRuntime(Supervisor(facts, Settings()), model, on_decision=on_decision)
    for step in range(1, steps + 1):
        loss = (model.network(x := 6 * torch.rand(64, 1) - 3) - 3 * torch.sin(x)).square().mean()
        model.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.network.parameters(), torch.inf)
        model.optimizer.step()
        supervision.on_step(step, {"total_loss": loss.item(), "gradient_norm": norm.item()})
    return loss.item()
