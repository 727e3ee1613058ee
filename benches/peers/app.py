"""A boot server as a Flask application: renders the boot script for whoever nginx lets in.

It stands for what farmgate replaces: the template is read and filled in at each request, with a new
token that is kept in memory.
"""

import os
import secrets
import string
import time

from flask import Flask, Response, abort, request

app = Flask(__name__)
template_path = os.environ["SCRIPT"]
leases = {}


@app.get("/boot/ipxe")
def boot():
    if not request.headers.get("X-SSL-Client-Fingerprint"):
        abort(403)
    token = secrets.token_urlsafe(32)
    leases[token] = time.time()
    with open(template_path, encoding="utf-8") as file:
        template = string.Template(file.read())
    script = template.safe_substitute(
        secrets_url="https://127.0.0.1:8443/secrets/" + token,
        client_cert_fingerprint=request.headers["X-SSL-Client-Fingerprint"],
    )
    return Response(script, mimetype="text/plain")
