{
  services.farmgate.nginx.enable = false;
}
