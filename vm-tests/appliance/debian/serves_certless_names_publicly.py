"""Booted systems acknowledge under a name with a public certificate; gateways boot only from ours."""

# Stands for a public authority: a client that trusts it does not know farmgate's own CA.
PUBLIC = "https://public.farmgate.test"
PUBLIC_CA = "/tmp/public/ca.crt"
REQUEST = "openssl req -newkey rsa:2048 -nodes"

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
host.succeed(
    "mkdir /tmp/public",
    f"echo {ADDRESS} public.farmgate.test >>/etc/hosts",
    f"{REQUEST} -x509 -days 30 -subj /CN=public -keyout /tmp/public/ca.key -out {PUBLIC_CA} 2>&1",
    f"{REQUEST} -subj /CN=public.farmgate.test -keyout /tmp/public/key -out /tmp/public/request 2>&1",
    "printf 'subjectAltName=DNS:public.farmgate.test' >/tmp/public/extensions",
    f"openssl x509 -req -in /tmp/public/request -CA {PUBLIC_CA} -CAkey /tmp/public/ca.key -days 30 "
    "-CAcreateserial -extfile /tmp/public/extensions -out /tmp/public/crt 2>&1",
    f"sed -i '1i public-url = \"{PUBLIC}\"' {STATE}/farmgate.toml",
    "farmgate nginx-config --public-certificate /tmp/public/crt --public-key /tmp/public/key "
    ">/etc/nginx/conf.d/farmgate.conf",
    "systemctl reload nginx.service 2>&1",
)
host.sleep(1)

serves_certless_names_alone(PUBLIC, PUBLIC_CA, mine)
