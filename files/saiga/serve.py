"""vLLM's OpenAI server with the API key of a file; by itself it takes arguments and environment.

The environment is changed inside the process, so neither `docker inspect` nor `ps` shows the key.
"""

import os
import runpy
from pathlib import Path

if __name__ == "__main__":
    os.environ["VLLM_API_KEY"] = Path("/run/secrets/saiga_api_key").read_text().strip()
    server = "vllm.entrypoints.openai.api_server"
    runpy.run_module(server, run_name="__main__", alter_sys=True)
