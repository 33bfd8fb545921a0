# Refuses an upgrade that Qdrant does not support, in a throw-away container: every collection says
# in $DATA/collections/*/version.info which version wrote it last; WANTED is the image's version.
# One minor version at a time: https://qdrant.tech/documentation/upgrades/
set -u
minor() { printf %s "$1" | cut -d. -f1,2; }
number() { printf '%s.\n' "$1" | { IFS=. read -r major minor _; echo $((major * 1000 + minor)); }; }

for file in "$DATA"/collections/*/version.info; do
    [ -f "$file" ] || continue
    found=$(cat "$file")
    steps=$(($(number "$WANTED") - $(number "$found")))
    if [ "$steps" -lt 0 ]; then
        echo "volume $VOLUME holds data of Qdrant $found, but services.qdrant.image is $WANTED," \
            "which cannot read it: keep an image of $(minor "$found") or newer"
        exit 1
    fi
    if [ "$steps" -gt 1 ]; then
        path=$(seq "$(($(number "$found") + 1))" "$(($(number "$WANTED") - 1))" |
            while read -r step; do printf '%s.%s, ' $((step / 1000)) $((step % 1000)); done)
        echo "volume $VOLUME holds data of Qdrant $found, but services.qdrant.image is $WANTED," \
            "and Qdrant is upgraded one minor version at a time: deploy the newest patch of" \
            "${path%, } first, one after the other"
        exit 1
    fi
done
