#!/usr/bin/env bash
# Call every operation on containers and their files, Files and uploads, one request after another.
set -euo pipefail

api() { # METHOD PATH [CURL OPTION...]
    curl --silent --fail-with-body -X "$1" "$OPENAI_BASE_URL$2" \
        -H "Authorization: Bearer $OPENAI_API_KEY" "${@:3}"
}
json=(-H "Content-Type: application/json" -d)
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

# Print the first value of a key. With jq this is `jq -r .id`.
value() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" | head -n 1; }

# Upload a File, and create a container with a copy of it.
printf 'city,people\nOslo,717710\n' >"$folder/cities.csv"
cities=$(api POST /files -F purpose=user_data -F file=@"$folder/cities.csv" | value id)
container=$(api POST /containers "${json[@]}" '{"name": "Population", "file_ids": ["'"$cities"'"]}' | value id)
echo "Created $(api GET "/containers/$container" | value name)"

# Add two more files: an upload, and a copy of another File.
printf 'Tromsø is missing.\n' >"$folder/notes.txt"
upload=$(api POST "/containers/$container/files" -F file=@"$folder/notes.txt" | value id)
requests=$(api POST /files -F purpose=batch -F 'file={"custom_id": "1"};filename=requests.jsonl' | value id)
copied=$(api POST "/containers/$container/files" "${json[@]}" '{"file_id": "'"$requests"'"}' | value id)
echo "Copied to $(api GET "/containers/$container/files/$copied" | value path)"

# Fetch page by page: `after` is the last id of the previous page.
page="/containers/$container/files?order=asc&limit=2"
last=$(api GET "$page" | value last_id)
test "$last" = "$upload"
test "$(api GET "$page&after=$last" | value first_id)" = "$copied"
test "$(api GET "/containers?limit=1" | value first_id)" = "$container"
test "$(api GET "/files?purpose=batch" | value first_id)" = "$requests"

# `--fail-with-body` exits with an error code, so that an error is not mistaken for content.
api GET "/containers/$container/files/$upload/content" --output "$folder/downloaded.txt"
cmp "$folder/notes.txt" "$folder/downloaded.txt"
test "$(api GET "/files/$requests/content")" = '{"custom_id": "1"}'
echo "Downloaded $(wc -c <"$folder/downloaded.txt") bytes"

# Upload a large File in parts of up to 64 MiB, as files or as plain fields, in any order.
new='{"filename": "large.jsonl", "bytes": 18, "mime_type": "application/jsonl", "purpose": "batch"}'
sending=$(api POST /uploads "${json[@]}" "$new" | value id)
end=$(api POST "/uploads/$sending/parts" -F 'data=id": "1"}' | value id)
printf '{"custom_' >"$folder/start"
start=$(api POST "/uploads/$sending/parts" -F data=@"$folder/start" | value id)
completed=$(api POST "/uploads/$sending/complete" "${json[@]}" '{"part_ids": ["'"$start"'", "'"$end"'"]}')
large=$(tail -n +10 <<<"$completed" | value id)
test "$(api GET "/files/$large/content")" = '{"custom_id": "1"}'
cancelled=$(api POST /uploads "${json[@]}" "$new" | value id)
echo "Sent $(value bytes <<<"$completed") bytes in parts, and $(api POST "/uploads/$cancelled/cancel" | value status) others"

api DELETE "/containers/$container/files/$upload" >/dev/null
api DELETE "/containers/$container" >/dev/null
for file in "$cities" "$requests" "$large"; do # deleting a container does not delete the Files that were copied into it
    echo "Deleted $(api GET "/files/$file" | value filename): $(api DELETE "/files/$file" | value deleted)"
done

echo "$(api GET "/containers/$container" | value message)"
api GET "/containers?limit=1000" || echo " with exit code $?"
