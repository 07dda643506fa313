"""Stream one chat answer with httpx in a few lines: the cost of the library alone."""

import json
import os
import sys

import httpx

base, model, prompt = sys.argv[1:]
body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
headers = {"Authorization": f"Bearer {os.environ['AIMLAPI_API_KEY']}"}
with httpx.stream("POST", f"{base}/chat/completions", json=body, headers=headers) as response:
    for line in response.raise_for_status().iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            delta = json.loads(line[6:])["choices"][0]["delta"]
            print(delta.get("content", ""), end="", flush=True)
print()
