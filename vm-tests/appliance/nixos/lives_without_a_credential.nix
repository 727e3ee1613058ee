{
  services.farmgate.credentials = {
    secrets-lab-1 = "/run/keys/lab-1.env";
    # Never there.
    secrets-lab-2 = "/run/keys/lab-2.env";
  };
}
