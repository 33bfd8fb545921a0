"""vLLM's OpenAI server with the API key of a file; by itself it takes arguments and environment.

The key is set where vLLM would find what the environment had. Arguments are logged, and both are
inherited by the processes that vLLM starts.
"""

import runpy
from pathlib import Path

if __name__ == "__main__":
    import vllm.envs

    vllm.envs.VLLM_API_KEY = Path("/run/secrets/saiga_api_key").read_text().strip()
    server = "vllm.entrypoints.openai.api_server"
    runpy.run_module(server, run_name="__main__", alter_sys=True)
