"""Lightning: a callback that validates, monitors and saves at the anchor, whatever hook saves."""

import pytorch_lightning as lightning
from digits import error, loader, network, test_data
from torch import nn
from torch.utils.data import DataLoader

from widevalley import EntropySGD


class AtAnchor(lightning.Callback):
    """The parameters are the anchor from validation, or a save, to the next batch."""

    def on_validation_start(self, trainer, module):
        for optimizer in trainer.optimizers:
            optimizer.eval()

    def on_train_batch_start(self, trainer, module, batch, index):
        for optimizer in trainer.optimizers:
            optimizer.train()

    def on_save_checkpoint(self, trainer, module, checkpoint):
        self.on_validation_start(trainer, module)  # a save between validations finds the walker
        strategy = trainer.strategy
        checkpoint["state_dict"] = strategy.lightning_module_state_dict()
        states = [strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers]
        checkpoint["optimizer_states"] = states


class Digits(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = network()

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val", nn.functional.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self):
        return EntropySGD(self.parameters(), langevin_lr=0.2, langevin_steps=10)


lightning.seed_everything(0)
best = lightning.callbacks.ModelCheckpoint("checkpoints", monitor="val")
often = lightning.callbacks.ModelCheckpoint("checkpoints/often", every_n_train_steps=37)
trainer = lightning.Trainer(
    accelerator="cpu", callbacks=[AtAnchor(), best, often], logger=False, max_epochs=10
)
trainer.fit(Digits(), loader(), DataLoader(test_data, 397))

kept = Digits.load_from_checkpoint(best.best_model_path)
print(f"test error {error(kept.network):.2f} %")
