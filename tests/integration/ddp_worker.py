"""Train on two processes: run by `test_ddp`, and by Lightning itself for the second rank."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from lightning.pytorch.callbacks import ModelCheckpoint
from runs import Recorder, make_data, make_model, make_trainer

from dynaclr.embeddings import EmbeddingWriter


def main(job_file: Path) -> None:
    """Do what the job says, and write down what this rank saw."""
    job = json.loads(job_file.read_text())
    torch.set_num_threads(1)
    recorder, model, data = Recorder(), make_model(), make_data(job["registry"], **job["data"])
    keep = ModelCheckpoint(job_file.parent / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [recorder, keep, *([EmbeddingWriter(job["output"])] if "output" in job else [])]
    trainer = make_trainer(job_file.parent, enable_checkpointing=True, callbacks=callbacks, **job["trainer"])
    if job["stage"] == "fit":
        trainer.fit(model, datamodule=data, ckpt_path=job.get("ckpt_path"), weights_only=True)
    elif job["stage"] == "validate":
        trainer.validate(model, datamodule=data, verbose=False)
    outputs = trainer.predict(model, datamodule=data) if job["stage"] == "predict" else []
    seen = {
        "world_size": trainer.world_size,
        "status": trainer.state.status,
        "steps": trainer.global_step,
        "trained": recorder.trained,
        "validated": recorder.validated,
        "losses": recorder.losses,
        "loss/train": float(trainer.callback_metrics.get("loss/train", float("nan"))),
        "predicted": [[one["global_track_id"], one["t"]] for output in outputs or [] for one in output["index"]],
        "weights": {name: value.tolist() for name, value in model.state_dict().items()},
    }
    (job_file.parent / f"rank{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    # As pytest does for the other runs: what is not expected is an error.
    warnings.simplefilter("default")
    main(Path(sys.argv[1]))
