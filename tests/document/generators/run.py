#!/usr/bin/env python3
"""Generates clients from the served OpenAPI document, compiles them, and opens a session with each.

Each client opens a session with claims and reads it back. Ajv compiles every schema; redocly and spectral lint the
document without an error. The tools are installed under target/tools/generators and kept between runs.
"""

import argparse
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
TOOLS = ROOT / "target" / "tools" / "generators"
PYTHON = ["openapi-python-client==0.29.1", "openapi-generator-cli==7.25.0"]
NPM = ["ajv@8.20.0", "@redocly/cli@2.77.0", "@stoplight/spectral-cli@6.16.3", "openapi-typescript@7.13.0",
       "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@24"]
OAPI_CODEGEN = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"
OGEN = "github.com/ogen-go/ogen/cmd/ogen@v1.24.0"


def run(*command, cwd=None, env=None):
    """Runs a program; its output is shown when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=dict(os.environ, **(env or {})), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        print(done.stdout[-6000:])
        raise subprocess.CalledProcessError(done.returncode, command[0])
    return done.stdout


class House:
    """A running keyfob, an application's credentials, the document, and the tools."""

    def __init__(self, binary, place):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.place = place
        env = dict(os.environ, KEYFOB_SERVER__LISTEN=f"127.0.0.1:{port}", KEYFOB_SERVER__ISSUER=self.url,
                   KEYFOB_LOG__LEVEL="error")
        self.server = subprocess.Popen([str(binary), "serve"], cwd=place, env=env, stdout=subprocess.DEVNULL)
        for _ in range(100):
            try:
                urllib.request.urlopen(self.url + "/readyz")
                break
            except OSError:
                time.sleep(0.1)
        admin = json.loads((place / "data" / "admin.json").read_text())
        self.admin = (admin["client_id"], admin["client_secret"])
        created = self.post("/v1/clients", {"client_id": "app", "permissions": ["sessions"], "scopes": ["read"],
                                            "grants": ["refresh_token"]})
        self.secret = created["client_secret"]
        self.basic = base64.b64encode(f"app:{self.secret}".encode()).decode()
        self.document = place / "openapi.json"
        self.document.write_bytes(urllib.request.urlopen(self.url + "/openapi.json").read())
        self.env = {"KEYFOB_URL": self.url, "KEYFOB_SECRET": self.secret, "KEYFOB_BASIC": self.basic}

    def post(self, path, body):
        basic = base64.b64encode(":".join(self.admin).encode()).decode()
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers={
            "Authorization": f"Basic {basic}", "Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(20)

    def folder(self, name):
        """A copy of this suite's files for one client, in a place of its own."""
        place = self.place / name
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, place)
        else:
            place.mkdir()
        return place


def expect(printed):
    """Each client prints what it read back."""
    assert "gold" in printed.splitlines()[-1], f"claims were not read back: {printed[-500:]}"


def python_tools():
    place = TOOLS / "python"
    if not (place / "bin" / "python").exists():
        run("python3", "-m", "venv", place)
    run(place / "bin" / "pip", "install", "--quiet", *PYTHON)
    return place / "bin"


def npm_tools():
    place = TOOLS / "npm"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "package.json").exists():
        (place / "package.json").write_text('{"private": true}')
    wanted = [package for package in NPM if package not in installed(place)]
    if wanted:
        run("npm", "install", "--no-audit", "--no-fund", "--silent", *NPM, cwd=place)
        (place / "installed.txt").write_text("\n".join(NPM))
    return place / "node_modules"


def installed(place):
    marker = place / "installed.txt"
    return marker.read_text().split("\n") if marker.exists() else []


def generate(house, generator, target, *options):
    """openapi-generator, whose jar the Python package carries."""
    run(python_tools() / "openapi-generator-cli", "generate", "-i", house.document, "-g", generator, "-o", target,
        *options)


def schemas(house):
    """Ajv compiles every schema (strict in all but OpenAPI's own words)."""
    run("node", HERE / "schemas.cjs", house.document, env={"NODE_PATH": str(npm_tools())})


def redocly(house):
    """redocly lint: no error."""
    run(npm_tools() / ".bin" / "redocly", "lint", house.document, cwd=house.place,
        env={"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"})


def spectral(house):
    """spectral lint with the OpenAPI rules: no error."""
    rules = house.place / "spectral.yaml"
    rules.write_text("extends: spectral:oas\n")
    run(npm_tools() / ".bin" / "spectral", "lint", "--fail-severity", "error", "-r", rules, house.document)


def openapi_python_client(house):
    tools, place = python_tools(), house.folder("openapi-python-client")
    # It formats what it generates with the ruff beside it.
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    printed = run(tools / "openapi-python-client", "generate", "--path", house.document, "--meta", "none",
                  "--output-path", place / "generated", env=path)
    assert "will not be generated" not in printed, printed
    expect(run(tools / "python", "call.py", cwd=place, env=house.env))


def openapi_typescript(house):
    modules, place = npm_tools(), house.folder("openapi-typescript")
    (place / "node_modules").symlink_to(modules)
    run(modules / ".bin" / "openapi-typescript", house.document, "-o", place / "schema.d.ts")
    run(modules / ".bin" / "tsc", "--strict", "--target", "es2022", "--module", "nodenext", "--outDir", "out",
        "call.mts", cwd=place)
    expect(run("node", "out/call.mjs", cwd=place, env=house.env))


def generator_python(house):
    place = house.folder("generator-python")
    generate(house, "python", place / "generated")
    python = TOOLS / "generator-python"
    if not (python / "bin" / "python").exists():
        run("python3", "-m", "venv", python)
    run(python / "bin" / "pip", "install", "--quiet", "-r", place / "generated" / "requirements.txt")
    expect(run(python / "bin" / "python", "call.py", cwd=place,
               env=dict(house.env, PYTHONPATH=str(place / "generated"))))


def generator_typescript(house):
    modules, place = npm_tools(), house.folder("generator-typescript")
    (place / "node_modules").symlink_to(modules)
    generate(house, "typescript-fetch", place / "generated")
    run(modules / ".bin" / "tsc", "--strict", "--target", "es2022", "--module", "commonjs", "--outDir", "out",
        "--lib", "es2022,dom", "call.ts", cwd=place)
    expect(run("node", "out/call.js", cwd=place, env=house.env))


def generator_go(house):
    place = house.folder("generator-go")
    generate(house, "go", place / "generated", "--additional-properties=packageName=keyfob,withGoMod=false",
             "--git-user-id", "example", "--git-repo-id", "call/generated")
    for test in (place / "generated").rglob("*_test.go"):
        test.unlink()
    (place / "go.mod").write_text("module example/call\n\ngo 1.25\n")
    for source in [place / "call.go"]:
        source.write_text(source.read_text())
    run("go", "mod", "tidy", cwd=place)
    expect(run("go", "run", ".", cwd=place, env=house.env))


def generator_java(house):
    place = house.folder("generator-java")
    generate(house, "java", place / "generated", "--library", "native", "--additional-properties=hideGenerationTimestamp=true")
    main = place / "generated" / "src" / "main" / "java" / "Call.java"
    shutil.copy(place / "Call.java", main)
    run("mvn", "-q", "-B", "-DskipTests", "-Dmaven.test.skip=true", "compile", "dependency:build-classpath",
        "-Dmdep.outputFile=classpath.txt", cwd=place / "generated")
    classes = "target/classes:" + (place / "generated" / "classpath.txt").read_text().strip()
    expect(run("java", "-cp", classes, "Call", cwd=place / "generated", env=house.env))


def oapi_codegen(house):
    place = house.folder("oapi-codegen")
    (place / "generated").mkdir()
    (place / "go.mod").write_text("module example/call\n\ngo 1.25\n")
    run("go", "run", OAPI_CODEGEN, "-generate", "types,client", "-package", "generated", "-o",
        place / "generated" / "client.go", house.document)
    run("go", "mod", "tidy", cwd=place)
    expect(run("go", "run", ".", cwd=place, env=house.env))


def ogen(house):
    """Two operations are left out: a check of a session answers one of two objects, and one of the store lines of JSON."""
    place = house.folder("ogen")
    (place / "ogen.yml").write_text('generator:\n  ignore_not_implemented: ["all"]\n')
    (place / "go.mod").write_text("module example/call\n\ngo 1.25\n")
    run("go", "run", OGEN, "--config", place / "ogen.yml", "--target", place / "generated", "--package", "generated", house.document)
    run("go", "mod", "tidy", cwd=place)
    run("go", "vet", "./generated", cwd=place)


def generator_rust(house):
    """Compiles, and `{"active":false}` deserialises."""
    place = house.folder("generator-rust")
    generate(house, "rust", place / "generated", "--additional-properties=packageName=generated,library=reqwest")
    (place / "target").symlink_to(tool_target("generator-rust"))
    expect(run("cargo", "run", "--quiet", cwd=place, env=house.env))


def progenitor(house):
    place = house.folder("progenitor")
    shutil.copy(house.document, place / "openapi.json")
    (place / "target").symlink_to(tool_target("progenitor"))
    run("cargo", "check", "--quiet", cwd=place)


def tool_target(name):
    place = TOOLS / name
    place.mkdir(parents=True, exist_ok=True)
    return place


ALL = {"schemas": schemas, "redocly": redocly, "spectral": spectral, "openapi-python-client": openapi_python_client,
       "openapi-typescript": openapi_typescript, "generator-python": generator_python,
       "generator-typescript": generator_typescript, "generator-go": generator_go, "generator-java": generator_java,
       "oapi-codegen": oapi_codegen, "ogen": ogen, "generator-rust": generator_rust, "progenitor": progenitor}
# On demand: the Rust generators compile some hundred crates, and ogen some modules.
CI = [name for name in ALL if name not in ("ogen", "generator-rust", "progenitor")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(ALL)}, or all; default: those of CI")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "keyfob")
    arguments = parser.parse_args()
    names = list(ALL) if arguments.names == ["all"] else arguments.names or CI
    unknown = set(names) - set(ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    failed = []
    with tempfile.TemporaryDirectory() as place:
        house = House(arguments.binary.resolve(), Path(place))
        try:
            for name in names:
                started = time.monotonic()
                try:
                    ALL[name](house)
                    print(f"ok      {name} ({time.monotonic() - started:.0f} s)", flush=True)
                except (AssertionError, OSError, subprocess.CalledProcessError) as failure:
                    failed.append(name)
                    print(f"FAILED  {name}: {failure}", flush=True)
        finally:
            house.stop()
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
