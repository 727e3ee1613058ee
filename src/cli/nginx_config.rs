use super::Context;
#[derive(clap::Args)]
pub(super) struct NginxConfig {}
impl NginxConfig {
    pub(super) fn run(self, _c: &Context) -> anyhow::Result<()> {
        Ok(())
    }
}
