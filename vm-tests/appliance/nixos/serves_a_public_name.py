"""With `nginx.publicDomain`, booted systems acknowledge at the public name, but gateways boot from ours."""

farmgate("gateway add lab-1")
publish_script("lab-1")
serves_certless_names_alone(
    "https://public.farmgate.test", f"{TEST}/public-ca.crt", identity("lab-1")
)
