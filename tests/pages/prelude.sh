# Sourced before the shell blocks of a page of the manual. Packages are already installed, so commands that install
# them only check their names. Servers run in the background.
set -euo pipefail

# check_pinned PACKAGE...: fails for a package that is pinned neither by the project nor by the clients of the tests.
check_pinned() {
    local each
    for each in "$@"; do
        each=${each%%[[=@]*}
        case $each in -* | "" | openai-containers-mock) continue ;; esac
        grep -rqw -- "$each" "$ROOT"/pyproject.toml "$ROOT"/tests/clients/*/*.{txt,json,mod} \
            || { echo "$each is not pinned" >&2; return 1; }
    done
}

pip() {
    [ "$1" = install ] && shift && check_pinned "$@"
}

npm() {
    if [ "$1" != install ]; then command npm "$@"; return; fi
    check_pinned "${@:2}"
    cp "$INSTALLED/openai-node/package.json" .
    ln -sfn "$INSTALLED/openai-node/node_modules" node_modules
}

go() {
    case $1 in
        get) check_pinned "${@:2}" ;;
        mod) cp "$ROOT"/tests/clients/go/go.{mod,sum} . ;;
        *) command go "$@" ;;
    esac
}

mvn() {
    ln -sfn "$INSTALLED/openai-java/lib" lib
}

# LiteLLM is installed in a separate environment.
python() {
    case $* in
        *litellm*) "$INSTALLED/litellm/bin/python" "$@" ;;
        *) "$PYTHON" "$@" ;;
    esac
}

litellm() {
    "$INSTALLED/litellm/bin/litellm" "$@" >"$STATE/litellm.log" 2>&1 </dev/null &
    curl --silent --fail --output "$STATE/health" --retry 240 --retry-delay 1 --retry-connrefused \
        "http://localhost:$PROXY_PORT/health/liveliness" || { cat "$STATE/litellm.log" >&2; return 1; }
}

stop_server() {
    [ -z "${SERVER:-}" ] || { kill "$SERVER"; wait "$SERVER" || true; }
    SERVER=
}

# `serve` stops the server that the page started before, and returns when the new one is healthy. With `--port` it is
# one of several servers: it replaces the shell process, and the page waits for it.
mockserver() {
    if [ "${1:-}" != serve ]; then command mockserver "$@"; return; fi
    case " $* " in *" --port "*) MOCKSERVER_PORT= exec mockserver "$@" >>"$STATE/server.log" 2>&1 </dev/null ;; esac
    stop_server
    command mockserver "$@" >"$STATE/server.log" 2>&1 </dev/null &
    SERVER=$!
    command mockserver healthcheck --wait 300
    kill -0 $SERVER || { cat "$STATE/server.log" >&2; return 1; }
}

# nginx takes the server's port. It runs in the foreground of a background job, so that it ends with the script.
nginx() {
    case " $* " in *" -s "* | *" -t "*) PATH=$PATH:/usr/sbin command nginx "$@" 2>>"$STATE/nginx.log"; return ;; esac
    stop_server
    PATH=$PATH:/usr/sbin command nginx "${@/#pid/daemon off; pid}" >>"$STATE/nginx.log" 2>&1 </dev/null &
    local port
    port=$(sed -n 's/^ *listen \([0-9]*\);$/\1/p' "$2/nginx.conf")
    curl --silent --fail --output "$STATE/health" --retry 240 --retry-delay 1 --retry-connrefused \
        "http://localhost:$port/health" || { cat "$STATE/nginx.log" >&2; return 1; }
}

# The image is built from the repository, and the container takes the server's port. Without a running engine, docker.py
# replaces the docker command.
docker() {
    [ "$1" != run ] || stop_server
    if ! command docker info >/dev/null 2>&1; then "$PYTHON" "$ROOT/tests/pages/docker.py" "$@"; return; fi
    if [ "$1" = build ]; then set -- "${@:1:$#-1}" "$ROOT"; fi
    command docker "$@"
}
