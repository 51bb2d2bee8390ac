#!/bin/sh
# Publishes points of a line with some noise, and sets their number as the result. A shell script
# reports with `titan context`, a Python script with `titan.context`.
set -e
titan context status "drawing points"
for part in 1 2 3 4; do
    titan context progress $part/4 "part $part"
    awk -v seed=$part 'BEGIN { srand(seed); for (i = 0; i < 25; i++) { x = rand(); print x, 3 * x + 1 + (rand() - 0.5) / 10 } }'
done >points.txt
titan context publish points points.txt >/dev/null
titan context set epochs 200
titan context result "{\"points\": $(wc -l <points.txt)}"
