# Sourced by up and down: the compose command that this machine has.
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-waterfall}
compose() {
	if command -v docker-compose >/dev/null; then
		docker-compose -f compose.yml "$@" 2> >(grep -v -e '^Creating' -e '^Starting' -e '^Stopping' -e '^Removing' >&2)
	else
		docker compose -f compose.yml "$@"
	fi
}
