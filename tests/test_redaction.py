"""Secrets in what the journal keeps: of requests, and of the responses that repeat them."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from conftest import World, ok

SECRET = "S3CR3T"
KEY_AS_JSON = json.dumps({"api_key": SECRET})

Read = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def entries(world: World) -> Read:
    """Read the journal, which must not contain the secret, nor find it."""
    url = f"{world.server.url}/_mock/worlds/{world.name}/journal"

    def read() -> list[dict[str, Any]]:
        response = httpx2.get(url)
        assert SECRET not in response.text
        assert httpx2.get(url, params={"text": SECRET}).json()["data"] == []
        return list(ok(response)["data"])

    return read


# Responses


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(
    "body",
    [
        {"instructions": f"use api_key={SECRET}"},
        {"input": KEY_AS_JSON},
        {"input": f"use api_key = {SECRET} for it"},
        {"metadata": {"k": json.dumps({"password": SECRET})}},
        {"metadata": {"k": f"https://me:{SECRET}@a.test/"}},
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": f"https://me:{SECRET}@a.test/mcp?sig={SECRET}"}]},
    ],
    ids=["text", "json", "split into deltas", "json in metadata", "url", "url of a tool"],
)
def test_secrets_in_texts_that_a_run_repeats_are_redacted(
    body: dict[str, Any], stream: bool, world: World, entries: Read
) -> None:
    response = world.http.post("/responses", json={"model": "m", "input": "hello", "stream": stream} | body)
    assert response.status_code == 200
    assert "S3CR" in response.text, "the client gets what it sent"
    (entry,) = entries()
    assert "…" in json.dumps(entry["response"]["body"], ensure_ascii=False)


@pytest.mark.parametrize("name", [KEY_AS_JSON, f"token={SECRET}", f"password: {SECRET}"])
def test_secrets_in_the_name_of_a_container_are_redacted_in_all_that_repeats_it(
    name: str, world: World, entries: Read
) -> None:
    box = ok(world.http.post("/containers", json={"name": name}))
    assert ok(world.http.get("/containers"))["data"][0]["name"] == name
    ok(world.http.get(f"/containers/{box['id']}"))
    ok(world.http.delete(f"/containers/{box['id']}"))
    assert "…" in entries()[1]["response"]["body"]["data"][0]["name"]


def test_secrets_in_the_names_of_files_are_redacted(world: World, entries: Read) -> None:
    named = {"file": (f"token={SECRET}.txt", b"x")}
    file = ok(world.http.post("/files", files=named, data={"purpose": "user_data"}))
    assert file["filename"] == f"token={SECRET}.txt"
    ok(world.http.get("/files"))
    created, _ = entries()
    assert created["request"]["body"]["file"]["filename"] == "token=…"


def test_secrets_in_errors_are_redacted(world: World, entries: Read) -> None:
    world.http.post("/containers", json={"name": "x", "memory_limit": f"token={SECRET}"})
    world.http.post("/containers", json={"name": "x", "memory_limit": KEY_AS_JSON})
    world.http.post("/containers", json={"name": "x", "memory_limit": json.dumps(KEY_AS_JSON)})
    world.http.post("/files", files={"file": b"x"}, data={"purpose": f"token={SECRET}"})
    world.http.get("/containers", params={"order": f"password: {SECRET}"})
    found = entries()
    assert [entry["status"] for entry in found] == [400] * len(found)
    assert found[0]["error"] == "Invalid value: 'token=…"
    assert found[0]["response"]["body"]["error"]["message"] == found[0]["error"]


def test_the_names_of_parameters_are_shown_in_errors(world: World, entries: Read) -> None:
    world.http.post("/responses", json={"model": "m", "input": "x", "max_output_tokens": "many"})
    (entry,) = entries()
    assert entry["error"] == "Invalid type for 'max_output_tokens': expected an integer, but got a string instead."


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"wrong api_key: {SECRET}"}},
        {"items": [{"note": KEY_AS_JSON}]},
        {"items": [{"x-signing-key": SECRET}]},
        f"wrong api_key: {SECRET}",
        f"data: {json.dumps({'delta': KEY_AS_JSON, 'type': [], 'token': SECRET})}\n\n",
        f"data: {json.dumps([KEY_AS_JSON])}\n\n",
        f"data: token={SECRET}\n\n",
        KEY_AS_JSON[:-1],
    ],
    ids=["error", "json in an object", "object", "text", "events", "a list in an event", "no events", "malformed"],
)
def test_secrets_of_a_fault_are_redacted_in_its_header_and_in_its_response(
    body: Any, world: World, entries: Read
) -> None:
    ok(world.http.post("/containers", json={"name": "x"}))
    fault = {"status": 500, "headers": {"X-Api-Key": SECRET}, "body": body}
    assert SECRET in world.http.get("/containers", headers={"x-mock-fault": json.dumps(fault)}).text
    _, entry = entries()
    assert json.loads(entry["request"]["headers"]["x-mock-fault"])["status"] == 500


def test_a_fault_that_only_delays_does_not_show_secrets(world: World, entries: Read) -> None:
    body = {"model": "m", "input": "x", "metadata": {"api_key": SECRET}}
    ok(
        world.http.post(
            "/responses", json=body, headers={"x-mock-fault": json.dumps({"latency": {"min": 0, "max": 0}})}
        )
    )
    (entry,) = entries()
    assert (entry["fault"], entry["response"]["body"]["metadata"]) == ("header", {"api_key": "…"})


def test_the_error_for_a_missing_key_is_shown_as_a_whole(world: World, entries: Read) -> None:
    world.http.get("/containers", headers={"x-mock-fault": json.dumps({"error": "missing_key"})})
    (entry,) = entries()
    assert "Authorization: Bearer YOUR_KEY" in entry["response"]["body"]["error"]["message"]


# Names and URLs


@pytest.mark.parametrize(
    "name",
    [
        "Cf-Access-Jwt-Assertion",
        "X-Goog-Iap-Jwt-Assertion",
        "X-Amzn-Oidc-Data",
        "X-Signing-Key",
        "X-Encryption-Key",
        "X-Passphrase",
        "X-Some-Key",
    ],
)
def test_headers_of_proxies_and_keys_are_redacted(name: str, world: World, entries: Read) -> None:
    ok(world.http.post("/containers", json={"name": "x"}, headers={name: SECRET}))
    (entry,) = entries()
    assert entry["request"]["headers"][name.lower()] == "…"


def test_passphrases_and_keys_in_json_are_redacted(world: World, entries: Read) -> None:
    names = ("passphrase", "signing_key", "encryptionKey", "client_assertion", "jwt", "some_key")
    world.http.post("/containers", json=dict.fromkeys(names, SECRET))
    (entry,) = entries()
    assert entry["request"]["body"] == dict.fromkeys(names, "…")


KEYS_IN_A_URL = {
    f"https://x/?api_key={SECRET}&a=1": "https://x/?api_key=…&a=1",
    f"/v1?a=1;api_key={SECRET};{SECRET}": "/v1?a=1;api_key=…",
    f"https://me:{SECRET}@x/": "https://…@x/",
    f"//x/?b=2#access_token={SECRET}": "//x/?b=2#access_token=…",
    f"/?state=token={SECRET}": "/?state=token=…",
    f"/?url={quote(f'https://x/?api_key={SECRET}', safe='')}": "/?url=https%3A%2F%2Fx%2F%3Fapi_key%3D…",
    f"/?a={quote(KEY_AS_JSON)}": "/?a=%7B%22api_key%22%3A%22…%22%7D",
}


@pytest.mark.parametrize("url", KEYS_IN_A_URL)
@pytest.mark.parametrize("header", ["Referer", "X-Original-Url", "X-Forwarded-Uri", "X-Rewrite-Url"])
def test_keys_in_headers_that_are_urls_are_redacted(header: str, url: str, world: World, entries: Read) -> None:
    ok(world.http.post("/containers", json={"name": "x"}, headers={header: url}))
    (entry,) = entries()
    assert entry["request"]["headers"][header.lower()] == KEYS_IN_A_URL[url]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (f"jwt={SECRET}", "jwt=…"),
        (f"a=1;api_key={SECRET}", "a=1;api_key=…"),
        (f"client_assertion={SECRET}&b=2", "client_assertion=…&b=2"),
        (f"url={quote(f'https://x/?api_key={SECRET}', safe='')}&b=%41", "url=https%3A%2F%2Fx%2F%3Fapi_key%3D…&b=%41"),
        (f"url=https://me:{SECRET}@x/", "url=https://…@x/"),
        (f"note=password%3A+{SECRET}", "note=password%3A+…"),
        ("next=/auth?x=1", "next=/auth?x=1"),
        (
            "prompt_cache_key=a&safety_identifier=b&cursor=100%25",
            "prompt_cache_key=a&safety_identifier=b&cursor=100%25",
        ),
    ],
)
def test_keys_in_queries_are_redacted(query: str, shown: str, world: World, entries: Read) -> None:
    world.http.post(f"/containers?{query}", json={"name": "x"})
    (entry,) = entries()
    assert entry["query"] == shown


def test_what_is_nested_too_deeply_to_search_is_hidden(world: World, entries: Read) -> None:
    nested = f"https://x/?api_key={SECRET}"
    for _ in range(30):
        nested = "https://x/?u=" + quote(nested, safe="")
    list_in_list = "[" * 150 + json.dumps(KEY_AS_JSON) + "]" * 150
    for _ in range(6):
        list_in_list = "[" * 150 + json.dumps(list_in_list) + "]" * 150
    ok(
        world.http.post(
            "/containers", json={"name": "x"}, headers={"X-Original-Url": nested, "Referer": list_in_list + "?"}
        )
    )
    world.http.post("/containers?" + ";a=b" * 200 + f";api_key={SECRET}", json={"name": "x"})
    world.http.post("/files", files={"file": b"x"}, data={"note": list_in_list})
    first, second, _ = entries()
    assert first["request"]["headers"]["x-original-url"].endswith("…")
    assert second["query"].endswith("…")


def test_what_is_no_secret_is_shown(world: World, entries: Read) -> None:
    shown = {
        "prompt_cache_key": "user-1",
        "safety_identifier": "user-2",
        "instructions": "Sort by foreign_key: AssertionError is fine. Authors: A, B. Tokenizer: fast.",
        "metadata": {"idempotency_key": "i-1", "primary_key": "p-1", "see": "https://docs.test/auth/tokens?page=2"},
    }
    headers = {"Idempotency-Key": "i-2", "User-Agent": "bot/1.0 (+https://bot.test/about?a=1)"}
    ok(world.http.post("/responses", json={"model": "m", "input": "x"} | shown, headers=headers))
    (entry,) = entries()
    assert entry["request"]["body"].items() >= shown.items()
    assert entry["response"]["body"].items() >= shown.items()
    assert entry["response"]["headers"]["x-ratelimit-limit-tokens"].isdecimal()
    assert entry["request"]["headers"].items() >= {name.lower(): value for name, value in headers.items()}.items()
