//! Changes one key of a configuration's text. Pure.

use serde::Deserialize;
use toml::Spanned;

use super::Config;
use super::boot_url::BootUrl;

impl Config {
    /// The text of a configuration with another `url`. Everything else stays as it is.
    pub fn with_url(text: &str, url: &BootUrl) -> Result<String, toml::de::Error> {
        #[derive(Deserialize)]
        struct OnlyUrl {
            url: Spanned<String>,
        }
        let OnlyUrl { url: old } = toml::from_str(text)?;
        let mut text = text.to_owned();
        // No character of a URL needs quoting in TOML.
        text.replace_range(old.span(), &format!("\"{url}\""));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_url_changes() {
        let url = "https://boot-2.example.org".parse().unwrap();
        let text = "# url = \"x\"\nurl='https://a:8443' # here\n[media]\nntp = \"url\"\n";
        let new = Config::with_url(text, &url).unwrap();
        let wanted =
            "# url = \"x\"\nurl=\"https://boot-2.example.org\" # here\n[media]\nntp = \"url\"\n";
        assert_eq!(new, wanted);
        assert_eq!(Config::parse(&new).unwrap().url, url);
        assert!(Config::with_url("[media]\nurl = \"x\"\n", &url).is_err());
    }
}
