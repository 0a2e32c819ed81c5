"""transformers' Trainer: it evaluates at the anchor by itself; a callback saves that, too."""

from pathlib import Path

import torch
from digits import error, network, test_data, train_data
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from widevalley import EntropySGD


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, inputs, labels):
        logits = self.network(inputs)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class SaveAnchor(TrainerCallback):
    """Beside what Trainer resumes from, the weights that it evaluated."""

    def on_save(self, args, state, control, model, optimizer, **others):
        to = Path(args.output_dir) / f"checkpoint-{state.global_step}" / "anchor.pt"
        with getattr(optimizer, "optimizer", optimizer).at_anchor():
            torch.save(model.state_dict(), to)


def collate(samples):
    inputs, labels = zip(*samples, strict=True)
    return {"inputs": torch.stack(inputs), "labels": torch.stack(labels)}


model = Classifier()
arguments = TrainingArguments(
    "trainer",
    num_train_epochs=10,
    per_device_train_batch_size=32,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=1,
    report_to="none",
    disable_tqdm=True,
    use_cpu=True,
    seed=0,
)
trainer = Trainer(
    model,
    arguments,
    data_collator=collate,
    train_dataset=train_data,
    eval_dataset=test_data,
    optimizer_cls_and_kwargs=(EntropySGD, {"langevin_lr": 0.2, "langevin_steps": 10}),
    callbacks=[SaveAnchor()],
)
trainer.train()

(saved,) = Path("trainer").glob("checkpoint-*/anchor.pt")
model.load_state_dict(torch.load(saved, weights_only=True))
print(f"test error {error(model.network):.2f} %")
