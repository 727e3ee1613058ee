//! Names near one that does not exist, for errors.

/// The candidate that `wanted` was probably meant to be: one typing error in a short name, two in
/// a longer one.
pub(super) fn near<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |other: &&str| strsim::osa_distance(other, wanted);
    let nearest = candidates.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 1 + wanted.len() / 8).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_typing_errors_are_near() {
        let names = ["debian", "fedora", "lab-1"];
        assert_eq!(near("debain", names), Some("debian"));
        assert_eq!(near("debian", names), Some("debian"));
        assert_eq!(near("lab1", names), Some("lab-1"));
        assert_eq!(near("windows", names), None);
        assert_eq!(near("x", []), None);
    }
}
