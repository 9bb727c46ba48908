"""Answers of the fine-tuned demonstration model, with the probability of each token: one JSON a line.

Run in the engine's environment: `python answering.py MODEL ADAPTER PHRASES OUT`. Greedy, as the desk asks;
the probabilities are the model's own, before temperature. The end of the answer counts as a token of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH = 48
MOST_TOKENS = 12


def main(model_folder: str, adapter: str, phrases: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # As the trainer chooses: 16-bit floats where there are kernels for them.
    fast = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    dtype = torch.bfloat16 if fast else torch.float32
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=dtype)
    model = PeftModel.from_pretrained(base, adapter).merge_and_unload().to(device).eval()
    rows = [json.loads(line) for line in Path(phrases).read_text().splitlines()]
    with Path(out).open("w") as file, torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            texts = [
                tokenizer.apply_chat_template(r["messages"], add_generation_prompt=True, tokenize=False)
                for r in batch
            ]
            given = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(device)
            made = model.generate(
                **given,
                max_new_tokens=MOST_TOKENS,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
                pad_token_id=tokenizer.eos_token_id,
            )
            ids = made.sequences[:, given["input_ids"].shape[1] :].cpu()
            probabilities = torch.stack(made.logits, 1).float().softmax(-1).cpu()
            for row, answer, chances in zip(batch, ids, probabilities, strict=True):
                file.write(json.dumps(told(row, answer, chances, tokenizer)) + "\n")
            print(f"  {min(start + BATCH, len(rows))} of {len(rows)} answers", flush=True)


def told(row: dict[str, Any], ids: torch.Tensor, chances: torch.Tensor, tokenizer: Any) -> dict[str, Any]:
    """A line of the sample: the answer up to its end."""
    ends = (ids == tokenizer.eos_token_id).nonzero()
    length = int(ends[0]) + 1 if len(ends) else len(ids)
    top = chances[:length].topk(5).values
    return {
        "asked": row["messages"][-1]["content"],
        "right": row["right"],
        "answer": tokenizer.decode(ids[:length], skip_special_tokens=True).strip(),
        "p": [round(float(chances[i, ids[i]]), 4) for i in range(length)],
        "top": [[round(float(p), 4) for p in step] for step in top],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
