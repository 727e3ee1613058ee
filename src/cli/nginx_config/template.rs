//! The text of the nginx configuration. Pure. Values arrive quoted for nginx.

/// A server certificate and its key.
pub(super) struct Certificate {
    pub(super) file: String,
    pub(super) key: String,
}

/// Values in the server blocks.
pub(super) struct Server {
    pub(super) host: String,
    /// Signed by the fleet's CA, the only one that gateways trust.
    pub(super) own: Certificate,
    pub(super) ca: String,
    pub(super) crl: String,
    pub(super) socket: String,
    pub(super) accel: Option<String>,
    pub(super) blobs: String,
    /// The file with the secret by which farmgate recognises this nginx.
    pub(super) mark: String,
    pub(super) logs: Logs,
}

/// Logs of nginx.
pub(super) enum Logs {
    /// Those of the rest of its configuration.
    Inherited,
    /// In files of these names.
    Own {
        /// Requests.
        access: String,
        /// Errors.
        error: String,
    },
}

impl Logs {
    /// Log settings for requests that are not parsed yet. They may hold a token, and nginx logs the
    /// beginning of an aborted request.
    fn unknown(&self) -> &'static str {
        match self {
            Self::Inherited => "",
            Self::Own { .. } => NOTHING,
        }
    }

    /// Log settings for requests without a token.
    fn without_token(&self) -> String {
        match self {
            Self::Inherited => String::new(),
            Self::Own { access, .. } => format!("access_log {access};\n        {}", self.errors()),
        }
    }

    fn errors(&self) -> String {
        match self {
            Self::Inherited => String::new(),
            Self::Own { error, .. } => format!("error_log {error} error;\n        "),
        }
    }
}

/// An error log shows the whole request line with each message, and no setting removes it. But no
/// message has the level `emerg`. `/dev/null` would not do: nginx gives its log files to the user
/// of its workers when they are reopened.
const NOTHING: &str = "access_log off;
        error_log stderr emerg;
        ";

/// Statuses of nginx's own answers to requests whose location it has not found yet.
const REFUSALS: [u16; 10] = [400, 405, 414, 421, 494, 495, 496, 497, 501, 505];

/// A run of this many such characters may be a token, even if some are percent-encoded: a token of
/// secrets has 43, one of an acknowledgement more. nginx's quotes need no escapes for it.
const TOKEN: &str = "[0-9A-Za-z_.~%-]{40}";

/// The part that all server blocks share.
pub(super) fn top(server: &Server) -> String {
    format!(
        r#"# Made by `farmgate nginx-config`; belongs into nginx's http block.

upstream farmgate {{
    # There is only this one: never take it for dead.
    server unix:{socket} max_fails=0;
    # Connections that wait for the next request, of each worker.
    keepalive 16;
}}
# Many gateways may share an address: a lab comes back after a power cut.
limit_conn_zone $binary_remote_addr zone=farmgate_clients:1m;
limit_req_zone $binary_remote_addr zone=farmgate_tokens:1m rate=20r/s;
limit_req_zone $binary_remote_addr zone=farmgate_updates:1m rate=1r/s;
# A secret by which farmgate knows this nginx: for root and farmgate alone.
map $server_port $farmgate_proxy_secret {{
    include {mark};
}}
# Where nginx cannot take a request, it must not log a token that is in it.
map "$request $http_referer" $farmgate_refused {{
    default /farmgate-refused;
    "~{TOKEN}" /farmgate-refused/quietly;
}}
"#,
        socket = server.socket,
        mark = server.mark,
    )
}

/// The server block for gateways.
pub(super) fn gateways(server: &Server, listen: &str) -> String {
    // iPXE since January 2024 offers these, and so do later clients.
    let tls = "\
    # iPXE speaks TLS 1.2 and no later version.
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!SHA1;
";
    server_block(server, listen, tls)
}

/// The server block for media of 2022, on a port of its own.
pub(super) fn legacy(server: &Server, listen: &str) -> String {
    let tls = "\
    # For iPXE without ECDHE: RSA key exchange. Whoever gets hold of the server's key can
    # read what was recorded here. Make new media, and close this.
    ssl_protocols TLSv1.2;
    ssl_ciphers AES256-SHA256:AES128-SHA256:AES256-SHA:AES128-SHA;
";
    server_block(server, listen, tls)
}

fn server_block(server: &Server, listen: &str, tls: &str) -> String {
    let Server { host, own: Certificate { file, key }, ca, crl, .. } = server;
    let (common, tokens, blobs) = (COMMON, tokens(&server.logs), blobs(server));
    let (update, images) = (update(&server.logs), images(&server.logs));
    let (unknown, logs) = (server.logs.unknown(), server.logs.without_token());
    format!(
        r#"
server {{
{listen}    server_name {host};
    {unknown}
    ssl_certificate {file};
    ssl_certificate_key {key};
{tls}    # A resumed session would skip what follows.
    ssl_session_tickets off;
    ssl_session_cache off;

    # Optional, because some routes need no certificate: farmgate decides, and
    # verifies once more. Revocation works at once without this CRL; it is the
    # second lock on the door.
    ssl_verify_client optional;
    ssl_verify_depth 1;
    ssl_client_certificate {ca};
    ssl_crl {crl};
{common}
    location / {{
        # nginx would log it, with errors too.
        {logs}if ($http_referer ~ "{TOKEN}") {{
            return 400;
        }}
        proxy_pass http://farmgate;
    }}
{update}{images}{tokens}{blobs}}}
"#
    )
}

/// The server block for requests without client certificate, under a name with a public
/// certificate.
pub(super) fn public(server: &Server, host: &str, listen: &str, own: &Certificate) -> String {
    let Certificate { file, key } = own;
    let logs = &server.logs;
    let (common, tokens, update) = (COMMON, tokens(logs), update(logs));
    let (images, blobs) = (images(logs), blobs(server));
    let (unknown, logs) = (logs.unknown(), logs.without_token());
    format!(
        r#"
server {{
{listen}    server_name {host};
    {unknown}
    ssl_certificate {file};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
{common}
    location / {{
        {logs}if ($http_referer ~ "{TOKEN}") {{
            return 400;
        }}
        return 404;
    }}
{update}{images}{tokens}{blobs}}}
"#
    )
}

/// Headers, limits and times of every server block.
const COMMON: &str = r#"
    # A request of iPXE has no body.
    client_max_body_size 64k;
    # Slow lines: time between two pieces, not for the whole.
    client_header_timeout 60s;
    client_body_timeout 60s;
    send_timeout 120s;
    keepalive_timeout 90s;
    reset_timedout_connection on;
    # While farmgate restarts, requests wait in its socket.
    proxy_connect_timeout 60s;
    proxy_read_timeout 120s;
    proxy_send_timeout 60s;
    # iPXE waits when it is told to, and asks again. Not so for 502: when farmgate is
    # gone, media with a second boot host in their list ask that one.
    limit_conn farmgate_clients 512;
    limit_conn_status 503;
    limit_req_status 503;
    error_page 503 = @later;
    location @later {
        add_header Retry-After 5 always;
        return 503;
    }

    # Overwrites whatever the client sent under these names. A location that sets
    # any header of its own must set all of these again.
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-SSL-Client-Verify $ssl_client_verify;
    proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
    # Should one of these lines get lost, nginx would pass on what the client claims. It drops
    # headers with underscores, so no client can send this one, which names the certificate
    # of the handshake; and nobody else who reaches the socket knows the secret in it.
    underscores_in_headers off;
    ignore_invalid_headers on;
    proxy_set_header X_Farmgate_Proxy "$farmgate_proxy_secret $ssl_client_fingerprint";
    # No copies of assets on nginx's disk.
    proxy_max_temp_file_size 0;
"#;

/// A forge says that something was pushed. What it says may be long, and is in no address.
fn update(logs: &Logs) -> String {
    let logs = logs.without_token();
    format!(
        r#"    # A forge, which signs what it says.
    location = /update-cfg {{
        {logs}if ($http_referer ~ "{TOKEN}") {{
            return 400;
        }}
        client_max_body_size 1m;
        limit_req zone=farmgate_updates burst=20 nodelay;
        proxy_pass http://farmgate;
    }}
"#
    )
}

/// Images are pulled with a token in a header, which is in no log.
fn images(logs: &Logs) -> String {
    let logs = logs.without_token();
    format!(
        r#"    # Container images: the booted system has no certificate, but a token in a header.
    location /v2/ {{
        {logs}if ($http_referer ~ "{TOKEN}") {{
            return 400;
        }}
        proxy_pass http://farmgate;
    }}
"#
    )
}

/// A report may hold the end of a console, which nginx must not write to its disk.
const REPORTS: &str = "client_max_body_size 192k;
        client_body_buffer_size 192k;
        ";

/// Tokens in addresses are as good as passwords. So nothing is logged for these locations and for
/// nginx' own answers in their place.
fn tokens(logs: &Logs) -> String {
    let mut text = String::from(
        r#"    # Tokens in these addresses are as good as passwords: not for any log. The same failures
    # of other requests are logged.
"#,
    );
    for (location, more) in [("/secrets/", ""), ("/boot/ack/", ""), ("/boot/report/", REPORTS)] {
        text += &format!(
            r#"    location {location} {{
        {NOTHING}{more}limit_req zone=farmgate_tokens burst=200 nodelay;
        error_page 503 = @later_quietly;
        proxy_pass http://farmgate;
    }}
"#
        );
    }
    text += &format!(
        r#"    location @later_quietly {{
        {NOTHING}add_header Retry-After 5 always;
        return 503;
    }}
    location /farmgate-refused/quietly/ {{
        internal;
        # The status stays what it was.
        {NOTHING}return 200 "";
    }}
"#
    );
    for status in REFUSALS {
        text += &format!("    error_page {status} $farmgate_refused/{status};\n");
    }
    let logs = logs.without_token();
    for status in REFUSALS {
        text += &format!(
            r#"    location = /farmgate-refused/{status} {{
        {logs}internal;
        return {status};
    }}
"#
        );
    }
    text
}

fn blobs(server: &Server) -> String {
    let Some(accel) = &server.accel else { return String::new() };
    let error_log = server.logs.errors();
    format!(
        r#"
    # Assets, where farmgate sends nginx (X-Accel-Redirect). The entity tag is
    # farmgate's: the SHA-256 of the file.
    location {accel}/ {{
        internal;
        alias {blobs};
        sendfile on;
        tcp_nopush on;
        max_ranges 1;
        etag off;
        if_modified_since off;
        add_header ETag $upstream_http_etag;
        {error_log}access_log off;
    }}
"#,
        blobs = server.blobs,
    )
}
