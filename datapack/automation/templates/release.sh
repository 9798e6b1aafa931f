#!/bin/sh
# One step of a version on its way into the registry. The pipeline runs these steps for a tag of git such as reef@v1; they run
# in any clone, too. What was scanned is what is pushed: the image of a version has one digest, which datasets.lock knows.
# Usage: REF=reef@v1 release.sh build|scan|login|push|sign|rehearse
#
# Values come from the environment only, as a tag of git can contain a command, and a list of processes shows arguments:
#     REF             name@version, which is the tag of git
#     VISIBILITY      public, internal or private: private data is built only in a private repository
#     REGISTRY        host/namespace; images are pushed to REGISTRY/name:version
#     REGISTRY_USER, REGISTRY_TOKEN      the login
#     SCAN_DATABASE   no: scan for secrets only; otherwise a scan that can't get the database of vulnerabilities fails
#     SIGNING_KEY     a private key in PEM format, or SIGNING_KEY_FILE, its file; DATAPACK_KEY_PASSPHRASE, its passphrase
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}
case ${REF:-} in
    *[!A-Za-z0-9._@-]* | @* | *@ | -* | *@*@*) fail "REF: not the name of a version: expected name@version" ;;
    *@*) ;;
    *) fail "REF: not the name of a version: expected name@version" ;;
esac
name=${REF%@*} version=${REF#*@}
archive=dist/$name-$version.tar
insecure=${INSECURE:+--insecure} # for a registry without TLS, in tests
image() { cat "dist/$name-$version.image"; }

case ${1:-} in
    build)
        [ -z "${VISIBILITY:-}" ] || datapack plan "$REF" --visibility "$VISIBILITY" >/dev/null
        mkdir -p dist
        # shellcheck disable=SC2086 # options
        datapack build "$REF" "oci-archive:$archive" ${BUILD_OPTIONS:-}
        ;;
    scan)
        # Trivy finds secrets in the data, and known holes in the base. A hole found later is found in the SBOM beside the image.
        scanners=vuln,secret
        case ${SCAN_DATABASE:-yes} in
            yes)
                if ! log=$(trivy image --quiet --download-db-only 2>&1); then
                    cause=$(printf '%s' "$log" | tail -n 1 | sed 's/^[[:space:]*]*//' | cut -c 1-300)
                    fail "no database of vulnerabilities, so nothing was scanned: $cause; SCAN_DATABASE=no scans for secrets only"
                fi
                ;;
            no)
                scanners=secret
                echo "vulnerabilities: not checked, as SCAN_DATABASE is no"
                ;;
            *) fail "SCAN_DATABASE: unknown value: expected yes or no" ;;
        esac
        trivy image --quiet --input "$archive" --scanners "$scanners" --skip-db-update --severity HIGH,CRITICAL \
            --ignore-unfixed --exit-code 1
        ;;
    login) # where docker login keeps it, which datapack and other tools read; no engine is needed
        python3 - <<'PYTHON'
import base64, json, os, pathlib
host = os.environ["REGISTRY"].partition("/")[0]
login = f"{os.environ['REGISTRY_USER']}:{os.environ['REGISTRY_TOKEN']}".encode()
path = pathlib.Path(os.environ.get("DOCKER_CONFIG") or pathlib.Path.home() / ".docker") / "config.json"
path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
settings = json.loads(path.read_text()) if path.exists() else {}
settings.setdefault("auths", {})[host] = {"auth": base64.b64encode(login).decode()}
path.touch(mode=0o600)
path.write_text(json.dumps(settings))
print(f"logged in to {host}")
PYTHON
        ;;
    push)
        place=$(printf '%s' "$REGISTRY/$name" | tr '[:upper:]' '[:lower:]') # an owner may be You
        # shellcheck disable=SC2086 # options
        datapack push "$REF" "docker://$place:$version" --json $insecure ${BUILD_OPTIONS:-} >"dist/$name-$version.json"
        digest=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["image"])' <"dist/$name-$version.json")
        echo "$place@$digest" >"dist/$name-$version.image"
        echo "pushed $place@$digest"
        ;;
    sign)
        key=${SIGNING_KEY_FILE:-}
        if [ -z "$key" ]; then
            [ -n "${SIGNING_KEY:-}" ] || fail "SIGNING_KEY: no key: add the secret, or remove this step if nobody verifies"
            key=$(mktemp) # which only we can read
            trap 'rm -f "$key"' EXIT
            printf '%s\n' "$SIGNING_KEY" >"$key"
        else
            chmod 600 "$key"
        fi
        unset SIGNING_KEY
        # shellcheck disable=SC2086 # an option
        datapack sign "docker://$(image)" --key "$key" $insecure
        ;;
    rehearse)
        docker pull --quiet "$(image)"
        datapack run "$(image)"
        ;;
    *) fail "release.sh: no such step: expected build, scan, login, push, sign or rehearse" ;;
esac
