"""Calls of Workers KV through Cloudflare's SDK for Python, each read back: rest.py SERVER_URL.

It prints the name of each case that passed, and ends with 1 if one failed.
"""
import sys
import time
import traceback

import cloudflare
from cloudflare import Cloudflare

client = Cloudflare(api_token="wpt_any", base_url=sys.argv[1] + "/client/v4", max_retries=0)
namespaces = client.kv.namespaces
A = {"account_id": "local"}
AWKWARD = ["plain", "dir/leaf", "100%", "%2F", "a b+c", "q?x=1#y", "ü/\U0001f600", "a:b@c!$&'()*,;=", "..a", "keys"]
BINARY = bytes(at * 7 % 256 for at in range(70_000))


def thrown(kind, code, call):
    try:
        returned = call()
    except kind as error:
        assert error.errors[0].code == code, error
    else:
        raise AssertionError(f"it returned {returned}")


def namespace():
    global N
    made = namespaces.create(title="python", **A)
    N = {"namespace_id": made.id, **A}
    assert namespaces.get(**N) == made and made.supports_url_encoding
    assert namespaces.update(title="python renamed", **N).title == "python renamed"
    assert made.id in [one.id for one in namespaces.list(**A)]
    assert "local" in [account.id for account in client.accounts.list()]
    assert client.user.tokens.verify().status == "active"


def awkward_keys():
    for key in AWKWARD:
        namespaces.values.update(key, value=key.encode(), metadata={"key": [key]}, **N)
        assert namespaces.values.get(key, **N).read() == key.encode(), key
        assert namespaces.metadata.get(key, **N) == {"key": [key]}, key
    assert {key.name for key in namespaces.keys.list(**N)} == set(AWKWARD)
    for key in AWKWARD:
        namespaces.values.delete(key, **N)
    assert list(namespaces.keys.list(**N)) == []


def binary_values():
    namespaces.values.update("binary", value=BINARY, expiration_ttl=120.0, **N)
    assert namespaces.values.get("binary", **N).read() == BINARY
    [key] = namespaces.keys.list(prefix="binary", **N)
    assert key.expiration > time.time() and key.metadata is None


def bulk_and_pages():
    pairs = [{"key": f"page {at}", "value": str(at), "metadata": {"at": at}} for at in range(10, 55)]
    put = namespaces.bulk_update(body=pairs, **N)
    assert put.successful_key_count == 45 and put.unsuccessful_keys == []
    keys = list(namespaces.keys.list(prefix="page ", limit=10, **N))
    assert [key.name for key in keys] == [pair["key"] for pair in pairs]
    assert keys[0].metadata == {"at": 10}
    got = namespaces.bulk_get(keys=["page 10", "none"], **N)
    assert got.values == {"page 10": "10", "none": None}, got
    assert namespaces.bulk_delete(body=["page 10", "page 11"], **N).successful_key_count == 2


def failures():
    absent = {**N, "namespace_id": "00112233445566778899aabbccddeeff"}
    thrown(cloudflare.NotFoundError, 10009, lambda: namespaces.values.get("none", **N))
    thrown(cloudflare.NotFoundError, 10013, lambda: namespaces.get(**absent))
    thrown(cloudflare.BadRequestError, 10014, lambda: namespaces.create(title="python renamed", **A))
    thrown(cloudflare.BadRequestError, 10034, lambda: namespaces.values.update("k", value=b"", expiration_ttl=30, **N))
    thrown(cloudflare.BadRequestError, 10047, lambda: namespaces.values.update("k", value=b"", metadata="{", **N))
    thrown(cloudflare.NotFoundError, 7003, lambda: namespaces.list(account_id="other"))


def removal():
    namespaces.delete(**N)
    thrown(cloudflare.NotFoundError, 10013, lambda: namespaces.get(**N))


failed = 0
for case in (namespace, awkward_keys, binary_values, bulk_and_pages, failures, removal):
    try:
        case()
        print(f"ok: {case.__name__}")
    except Exception:
        failed += 1
        print(f"FAILED: {case.__name__}: {traceback.format_exc()}", file=sys.stderr)
sys.exit(failed > 0)
