"""Supervise a training loop of your own: here a small network learns a sine, with whatever zeal you give it."""

import torch

from reports import TrainerOrder
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.runtime import DecisionSink, SupervisorRuntime
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor


class Learner:
    actions = ("turn", "restart")

    def __init__(self, learning_rate: float) -> None:
        self.model = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=learning_rate, momentum=0.9)

    def execute(self, order: TrainerOrder) -> None:
        if order.action == "restart":
            self.__init__(self.optimizer.defaults["lr"])  # type: ignore[misc]
        multiplier = order.knobs["learning_rate_multiplier"]
        self.optimizer.param_groups[0]["lr"] = self.optimizer.defaults["lr"] * multiplier


def train(learning_rate: float, steps: int, tell: DecisionSink) -> float:
    learner = Learner(learning_rate)
    sizes = {"steps_per_evaluation": 50, "steps_per_epoch": 50, "planned_steps": steps}
    knobs = {"learning_rate_multiplier": KnobFacts(start=1.0, low=0.001, high=1.0)}
    facts = RunFacts(**sizes, peak_learning_rate=learning_rate, knobs=knobs, actions=learner.actions)
    supervision = SupervisorRuntime(Supervisor(facts, Settings()), learner, on_decision=tell)
    for step in range(1, steps + 1):
        loss = (learner.model(x := 6 * torch.rand(64, 1) - 3) - 3 * torch.sin(x)).square().mean()
        learner.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(learner.model.parameters(), torch.inf)
        learner.optimizer.step()
        supervision.on_step(step, {"total_loss": loss.item(), "gradient_norm": norm.item()})
    return loss.item()
