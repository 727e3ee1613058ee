"""A loopback stand-in for Backblaze B2's native API (v1 to v4): an HTTP front for the
in-memory RawSimulator of Backblaze's own b2sdk, with the simulator's holes closed: it looks
at tokens, expiry, deleted keys and the bucket that a key is for. It proves shapes and the
handling of errors, not Backblaze.

    b2-sim.py [PORT]     prints one JSON line (url and master key), then serves

Needs b2sdk 2.13.1 (scripts/install-packages test)."""

import base64
import io
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult
from urllib.parse import parse_qs
from urllib.parse import unquote
from urllib.parse import urlsplit

from b2sdk._internal import exception as ex
from b2sdk._internal.raw_simulator import BucketSimulator
from b2sdk._internal.raw_simulator import RawSimulator

MAP = [
    (ex.DuplicateBucketName, 400, "duplicate_bucket_name"),
    (ex.NonExistentBucket, 400, "bad_bucket_id"),
    (ex.FileNotPresent, 404, "not_found"),
    (ex.Conflict, 409, "conflict"),
    (ex.AccessDenied, 403, "access_denied"),
    (ex.UnsatisfiableRange, 416, "range_not_satisfiable"),
    (
        (
            ex.BadJson,
            ex.FileSha1Mismatch,
            ex.BadUploadUrl,
            KeyError,
            AssertionError,
            ValueError,
            TypeError,
        ),
        400,
        "bad_request",
    ),
]


class Err(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


def describe(e: Exception) -> tuple[int, str, str]:
    if isinstance(e, Err):
        return e.status, e.code, e.message
    if isinstance(e, ex.Unauthorized):  # a wrong key: B2 was recorded saying bad_auth_token, ""
        return 401, "bad_auth_token" if isinstance(e, ex.InvalidAuthToken) else e.code, ""
    return (
        (400, e.code, e.message)
        if isinstance(e, ex.BadRequest)
        else next(
            ((s, c, str(e) or type(e).__name__) for cls, s, c in MAP if isinstance(e, cls)),
            (500, "internal_error", repr(e)),
        )
    )


class Bucket(BucketSimulator):  # type: ignore[misc] # b2sdk has no types here.
    def __init__(self, *a: Any, **k: Any) -> None:
        super().__init__(*a, **k)
        self.options_set, self.upload_url_counter = (
            {"s3"},
            iter(range(10**9)),
        )  # RawSimulator: at most 200 upload URLs a bucket,
        top = 10**12 + (1000 - int(self.bucket_id.split("_")[1])) * 10**9
        self.file_id_counter = iter(
            range(top, top - 10**9, -1)
        )  # the same file ids in every bucket,
        self.upload_timestamp_counter = iter(
            lambda: int(time.time() * 1000), None
        )  # timestamps 5000..9998


class Sim(RawSimulator):  # type: ignore[misc]
    BUCKET_SIMULATOR_CLASS = Bucket
    ctx = threading.local()  # bucket that the request is about

    def _assert_account_auth(
        self,
        api_url: str,
        token: str,
        account_id: str,
        capability: str,
        bucket_id: str | None = None,
        file_name: str | None = None,
    ) -> None:
        # RawSimulator: AssertionError on an unknown token, no expiry of keys, tokens of deleted
        # keys live on, and the bucket is left out on most calls.
        key = self.auth_token_to_key.get(token)
        if key is None or key.application_key_id not in self.key_id_to_key:
            raise Err(401, "bad_auth_token", "Invalid authorization token")
        if (key.expiration_timestamp_or_none or 1e18) < time.time():
            raise Err(401, "expired_auth_token", "Authorization token has expired")
        bucket_id = bucket_id or self.ctx.bucket_id
        super()._assert_account_auth(api_url, token, account_id, capability, bucket_id, file_name)


SIM, LOCK = Sim(), threading.Lock()
SIM.bucket_id_counter = iter(range(1000))
ACCOUNT, MASTER = SIM.create_account()


def shape(v: int, name: str, r: Any) -> Any:
    """RawSimulator answers in (nearly) v4 shape only: make v4 exact, and give v1-v3 theirs."""
    if name == "b2_authorize_account":
        st, key = r["apiInfo"]["storageApi"], SIM.auth_token_to_key[r["authorizationToken"]]
        caps, prefix, buckets = (
            st.pop("capabilities"),
            st.pop("namePrefix"),
            st["allowed"]["buckets"] or [{}],
        )
        st.update(recommendedPartSize=100_000_000, absoluteMinimumPartSize=5_000_000)
        r.update(
            applicationKeyExpirationTimestamp=key.as_key()["expirationTimestamp"],
            apiInfo={"storageApi": st},
        )
        old = {
            "capabilities": caps,
            "namePrefix": prefix,
            "bucketId": buckets[0].get("id"),
            "bucketName": buckets[0].get("name"),
        }
        if v < 4 and len(buckets) > 1:
            raise Err(401, "unauthorized", "a multi-bucket key needs v4")
        if v < 4:
            del st["allowed"]
            (st if v == 3 else r).update(
                {**old, "infoType": "storageApi"}
                if v == 3
                else {**r.pop("apiInfo")["storageApi"], "allowed": old}
            )
    for k in r.get("keys") or [r]:
        if "bucketIds" in k:
            k.update(
                {"options": ["s3"]}
                | ({"bucketId": (k.pop("bucketIds") or [None])[0]} if v < 4 else {})
            )
    return r


def call(v: int, name: str, token: str, b: dict[str, Any]) -> Any:
    a, acct, g, ctx = (SIM.API_URL, token), b.get("accountId"), b.get, SIM.ctx
    ctx.bucket_id = g("bucketId")
    if name == "b2_create_bucket":
        if not re.fullmatch(r"(?!b2-)[A-Za-z0-9-]{6,63}", b["bucketName"]):
            raise Err(400, "bad_request", "Invalid bucketName: " + b["bucketName"])
        return SIM.create_bucket(
            *a,
            acct,
            b["bucketName"],
            b["bucketType"],
            g("bucketInfo"),
            g("corsRules"),
            g("lifecycleRules"),
        )
    if name == "b2_list_buckets":
        ctx.bucket_id = g("bucketId") or SIM._get_bucket_id_or_none_for_bucket_name(g("bucketName"))
        return SIM.list_buckets(*a, acct, g("bucketId"), g("bucketName"))
    if name == "b2_create_key":
        ids, ctx.bucket_id = (
            g("bucketIds") if v >= 4 else ([b["bucketId"]] if g("bucketId") else None),
            None,
        )
        return SIM.create_key(
            *a,
            acct,
            b["capabilities"],
            b["keyName"],
            g("validDurationInSeconds"),
            ids,
            g("namePrefix"),
        )
    if name == "b2_delete_key":  # RawSimulator.delete_key looks at no token
        SIM._assert_account_auth(*a, ACCOUNT, "deleteKeys")
    if name == "b2_delete_file_version":
        ctx.bucket_id = SIM.file_id_to_bucket_id.get(b["fileId"])
    rest = {
        "b2_delete_bucket": lambda: SIM.delete_bucket(*a, acct, b["bucketId"]),
        "b2_list_keys": lambda: SIM.list_keys(
            *a, acct, int(g("maxKeyCount") or 100), g("startApplicationKeyId")
        ),
        "b2_delete_key": lambda: SIM.delete_key(*a, b["applicationKeyId"]),
        "b2_get_upload_url": lambda: SIM.get_upload_url(*a, b["bucketId"]),
        "b2_list_file_names": lambda: SIM.list_file_names(
            *a, b["bucketId"], g("startFileName"), g("maxFileCount"), g("prefix")
        ),
        "b2_delete_file_version": lambda: SIM.delete_file_version(*a, b["fileId"], b["fileName"]),
    }
    return rest[name]()  # any other call: KeyError -> 400 bad_request


class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with LOCK:
                out, head, status = (
                    *self.dispatch(
                        body, urlsplit(self.path), self.headers.get("Authorization") or ""
                    ),
                    200,
                )
        except Exception as e:  # noqa: BLE001 (whatever it is, there is an answer)
            status, code, message = describe(e)
            out, head = {"status": status, "code": code, "message": message}, {}
        if not isinstance(out, bytes):
            out, head = (
                json.dumps(out, default=list, indent=1).encode() + b"\n",
                {"Content-Type": "application/json"},
            )
        self.send_response(status)
        for k, x in {**head, "Content-Length": str(len(out))}.items():
            self.send_header(k, x)
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_POST

    def dispatch(self, body: bytes, u: SplitResult, auth: str) -> tuple[Any, dict[str, str]]:
        h = self.headers
        if u.path.startswith("/upload/"):  # b2_upload_file
            SIM.ctx.bucket_id, name = u.path.split("/")[2], unquote(h["X-Bz-File-Name"])
            SIM._assert_account_auth(
                SIM.API_URL, auth.rsplit("/", 1)[-1], ACCOUNT, "writeFiles", None, name
            )
            info = {k[10:]: unquote(x) for k, x in h.items() if k.lower().startswith("x-bz-info-")}
            return SIM.upload_file(
                "https://upload.example.com" + u.path[7:],
                auth,
                name,
                len(body),
                h["Content-Type"],
                h["X-Bz-Content-Sha1"],
                info,
                io.BytesIO(body),
            ), {}
        if u.path.startswith("/file/"):  # b2_download_file_by_name
            bucket = SIM._get_bucket_by_name(u.path.split("/")[2])
            if bucket.bucket_type == "allPrivate":
                SIM._assert_account_auth(
                    SIM.API_URL,
                    auth,
                    ACCOUNT,
                    "readFiles",
                    bucket.bucket_id,
                    unquote(u.path.split("/", 3)[3]),
                )
            with SIM.download_file_from_url(auth or None, SIM.DOWNLOAD_URL + u.path) as r:
                return r.data_bytes, {
                    k: x for k, x in r.headers.items() if k.lower() != "content-length"
                }
        m: Any = re.fullmatch(r"/b2api/v(\d)/(b2_\w+)", u.path) or [0, 0, ""]
        if m[2] == "b2_authorize_account":
            kid, secret = base64.b64decode(auth[6:]).decode().split(":", 1)
            if (
                getattr(SIM.key_id_to_key.get(kid), "expiration_timestamp_or_none", 0) or 1e18
            ) < time.time():
                raise Err(401, "unauthorized", "application key has expired")
            r = SIM.authorize_account(SIM.API_URL, kid, secret)
            r["apiInfo"]["storageApi"].update(apiUrl=BASE, downloadUrl=BASE, s3ApiUrl=BASE + "/s3")
        else:
            r = call(
                int(m[1]),
                m[2],
                auth,
                {k: x[0] for k, x in parse_qs(u.query).items()} | json.loads(body or "{}"),
            )
            if "uploadUrl" in r:
                r["uploadUrl"] = r["uploadUrl"].replace(
                    "https://upload.example.com", BASE + "/upload"
                )
        return shape(int(m[1]), m[2], r), {}


srv = ThreadingHTTPServer(("127.0.0.1", next((int(a) for a in sys.argv[1:] if a.isdigit()), 0)), H)
BASE = f"http://127.0.0.1:{srv.server_port}"
print(
    json.dumps(
        {"url": BASE, "applicationKeyId": ACCOUNT, "applicationKey": MASTER, "accountId": ACCOUNT}
    ),
    flush=True,
)
srv.serve_forever()
