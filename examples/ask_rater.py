"""Ask a vision-language model the questions of `affectkit data questions`, and write its answers.

The model runs on a server with the chat interface of OpenAI, such as vLLM, llama.cpp or Ollama:

    python examples/ask_rater.py questions.csv ratings.csv --server http://localhost:8000/v1 --model NAME

Clips whose answers are in `ratings.csv` already are not asked again.
"""

import argparse
import base64
import csv
import io
import json
import re
import urllib.request
from itertools import groupby
from pathlib import Path

from PIL import Image

from affectkit.data import UniformSegments, open_video

TASK = (
    "These pictures are frames of one video of a person in front of a screen, in order. Answer each question by a "
    "number from 0 (not at all) to 1 (always, or certainly). Reply with a JSON object of these numbers alone.\n"
)


def pictures(path: str, count: int) -> list[str]:
    """Frames of a video as addresses of JPEG data."""
    with open_video(Path(path)) as video:
        frames = video.read(UniformSegments(count)(video.num_frames))
    found = []
    for frame in frames:
        data = io.BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(data, "JPEG", quality=85)
        found.append("data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode())
    return found


def ask(server: str, model: str, images: list[str], questions: dict[str, str]) -> dict[str, float]:
    """Answers of the model by question, those that it gives."""
    text = TASK + "\n".join(f'"{name}": {question}' for name, question in questions.items())
    content = [{"type": "text", "text": text}]
    content += [{"type": "image_url", "image_url": {"url": image}} for image in images]
    request = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": content}]}
    call = urllib.request.Request(
        f"{server}/chat/completions", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=600) as reply:
        answer = json.load(reply)["choices"][0]["message"]["content"]
    numbers = re.findall(r'"(\w+)"\s*:\s*([01](?:\.\d+)?)', answer)
    return {name: float(number) for name, number in numbers if name in questions and float(number) <= 1}


def main() -> None:
    """Ask about every clip that has no answers yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--server", default="http://localhost:8000/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--frames", type=int, default=8)
    options = parser.parse_args()
    is_new = not options.ratings.exists()
    with options.ratings.open("a+", encoding="utf-8", newline="") as file:
        file.seek(0)
        asked = {row["clip"] for row in csv.DictReader(file)}
        table = csv.writer(file, lineterminator="\n")
        if is_new:
            table.writerow(["clip", "question", "answer"])
        with options.questions.open(encoding="utf-8", newline="") as source:
            for (clip, path), rows in groupby(csv.DictReader(source), lambda row: (row["clip"], row["path"])):
                if clip in asked:
                    continue
                questions = {row["question"]: row["text"] for row in rows}
                answers = ask(options.server, options.model, pictures(path, options.frames), questions)
                table.writerows((clip, name, answer) for name, answer in answers.items())
                file.flush()


if __name__ == "__main__":
    main()
