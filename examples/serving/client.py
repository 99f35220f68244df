"""Asks a model over TensorFlow Serving's REST interface, with Python's standard library alone.

    python examples/serving/client.py --history 8730,35811,20673 --k 10

works with `nann serve` and with TensorFlow Serving (compose.yaml). `--history` may be given several times; TensorFlow Serving wants
histories of one length, so they are filled up with an id that no item has (`--no-item`), which the model leaves out.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request


def predict(url: str, histories: list[list], *, no_item: object, timeout: float = 10) -> list[dict]:
    """One object with `top_k_item_ids` and `top_k_scores` per history, best first.

    Raises:
        RuntimeError: the server refuses the request; its message.
    """
    longest = max(map(len, histories))
    instances = [history + [no_item] * (longest - len(history)) for history in histories]
    body = json.dumps({"signature_name": "by_catalogue_id", "instances": instances}).encode()
    request = urllib.request.Request(f"{url}/v1/models/nann:predict", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"status {error.code}: {json.load(error)['error']}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a model for items.")
    parser.add_argument("--url", default="http://127.0.0.1:8501")
    parser.add_argument("--history", action="append", required=True, help="catalogue ids with commas between, oldest first; repeatable")
    parser.add_argument("--strings", action="store_true", help="ids are texts")
    parser.add_argument("--no-item", help="an id that no item has; default -9223372036854775808, or an empty text")
    parser.add_argument("--k", type=int, default=10, help="items to print")
    options = parser.parse_args()
    kind = str if options.strings else int
    histories = [[kind(item_id) for item_id in history.split(",") if item_id] for history in options.history]
    no_item = kind(options.no_item or ("" if options.strings else -(2**63)))
    try:
        answers = predict(options.url, histories, no_item=no_item)
    except (RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
    for history, answer in zip(options.history, answers, strict=True):
        print(f"after {history}:")
        found = [pair for pair in zip(answer["top_k_item_ids"], answer["top_k_scores"], strict=True) if pair[1] != float("-inf")]
        for rank, (item_id, score) in enumerate(found[: options.k], 1):
            print(f"{rank:>4}  {item_id}  {score:.4f}")


if __name__ == "__main__":
    main()
