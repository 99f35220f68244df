#!/usr/bin/env bash
# Asks a model with curl:
#
#   examples/serving/client.sh 8730,35811,20673 http://127.0.0.1:8501
#
# works with `nann serve` and with TensorFlow Serving (compose.yaml). Prints the JSON of the answer; a status other than 200 ends with 22.
set -euo pipefail
history=$1
url=${2:-http://127.0.0.1:8501}
curl --silent --show-error --fail-with-body --max-time 10 --header 'Content-Type: application/json' \
  --data "{\"signature_name\": \"by_catalogue_id\", \"instances\": [[$history]]}" "$url/v1/models/nann:predict"
echo
