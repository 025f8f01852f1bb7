#!/usr/bin/env bash
# Call every operation on skills, one request after another.
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

# Upload a folder: the name of each file is its path.
printf -- '---\nname: basic-math\ndescription: Add numbers.\n---\nRun run.py.\n' >"$folder/SKILL.md"
echo 'print(1 + 1)' >"$folder/run.py"
created=$(api POST /skills -F "files[]=@$folder/SKILL.md;filename=basic_math/SKILL.md" \
    -F "files[]=@$folder/run.py;filename=basic_math/run.py")
skill=$(value id <<<"$created")
echo "Created $(value name <<<"$created"): $(value description <<<"$created")"

# Upload a zip as a new version: a skill is downloaded as a zip, which can be uploaded again.
api GET "/skills/$skill/content" --output "$folder/skill.zip"
version=$(api POST "/skills/$skill/versions" -F "files=@$folder/skill.zip" -F default=true | value version)
api GET "/skills/$skill/versions/$version/content" --output "$folder/again.zip"
cmp "$folder/skill.zip" "$folder/again.zip"
test "$(api GET "/skills/$skill" | value default_version)" = 2
test "$(api POST "/skills/$skill" "${json[@]}" '{"default_version": "1"}' | value default_version)" = 1
test "$(api GET "/skills/$skill/versions/1" | value name)" = basic-math
test "$(api GET /skills | value first_id)" = "$skill"
echo "Listed version $(api GET "/skills/$skill/versions?limit=1" | value version)"

# A container copies its skills when it is created, and keeps them after they are deleted.
container=$(api POST /containers "${json[@]}" \
    '{"name": "Numbers", "skills": [{"type": "skill_reference", "skill_id": "'"$skill"'", "version": "latest"}]}' | value id)
api DELETE "/skills/$skill/versions/2" >/dev/null
echo "$(api POST /skills -F "files[]=@$folder/SKILL.md" | value message)"
api DELETE "/skills/$skill" >/dev/null
api DELETE "/containers/$container" >/dev/null
echo "$(api GET "/skills/$skill" | value message)"
