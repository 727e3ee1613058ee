use super::Context;
#[derive(clap::Args)]
pub(super) struct Serve {}
impl Serve {
    pub(super) fn run(self, _c: &Context) -> anyhow::Result<()> {
        Ok(())
    }
}
