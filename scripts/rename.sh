#!/bin/sh
# Makes the project keep something else than users: rename.sh order orders. It renames everything in
# the files that Git knows, and the files. Words of others, such as user-agent, stay. Then it removes
# itself, because it only knows users.
set -eu
cd "$(dirname "$0")/.."

case ${1:-} in
'' | *[!a-z]*) one= ;;
*) one=$1 ;;
esac
case ${2:-} in
'' | *[!a-z]*) many= ;;
*) many=$2 ;;
esac
[ -n "$one" ] && [ -n "$many" ] || {
	echo "usage: scripts/rename.sh ONE MANY, two words in lower case, such as order orders" >&2
	exit 2
}

capital() { printf '%s%s' "$(printf %.1s "$1" | tr "[:lower:]" "[:upper:]")" "${1#?}"; }
upper() { printf %s "$1" | tr "[:lower:]" "[:upper:]"; }
article=a
case $one in [aeiou]*) article=an ;; esac

rename() {
	sed -E \
		-e 's/(u|U)(ser(-[Aa]gent|Agent|Arn|content|[Gg]uide|Policy|[Pp]ool|_pools|_version|-data-dir))/\1%\2/g' \
		-e 's/(\.is_|ConnectorError::)user/\1u%ser/g' \
		-e 's/US(ER_AGENT)/US%\1/g' \
		-e "s/(^|[^[:alnum:]])a (\`?)(user|$one)/\\1$article \\2user/g" \
		-e "s/(^|[^[:alnum:]])A (\`?)(user|$one)/\\1$(capital "$article") \\2user/g" \
		-e "s/users/$many/g; s/Users/$(capital "$many")/g; s/USERS/$(upper "$many")/g" \
		-e "s/user/$one/g; s/User/$(capital "$one")/g; s/USER/$(upper "$one")/g" \
		-e 's/([uU]S?)%/\1/g'
}

git ls-files | while IFS= read -r file; do
	# This file says what users are called elsewhere.
	[ "$file" != scripts/rename.sh ] || continue
	rename <"$file" >target.renamed
	cmp -s "$file" target.renamed || cat target.renamed >"$file"
	new=$(printf '%s\n' "$file" | rename)
	if [ "$new" != "$file" ]; then
		mkdir -p "$(dirname "$new")"
		git mv "$file" "$new"
		rmdir -p "$(dirname "$file")" 2>/dev/null || true
	fi
done
rm -f target.renamed
git rm --quiet --force scripts/rename.sh
echo "Renamed. Now run: cargo fmt --all && make lint && make test" >&2
