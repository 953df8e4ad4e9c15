//! Names of tests, scenarios and mutants in `docs/SECURITY-MODEL.md`: a claim whose proof was renamed or
//! deleted is a claim without proof.

use std::collections::BTreeSet;

pub(crate) const PAGE: &str = "docs/SECURITY-MODEL.md";

/// The names that a page puts between backticks: small letters, digits, `_` and `-`.
pub(crate) fn names(page: &str) -> BTreeSet<&str> {
    let is_name = |text: &&str| {
        let is_letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c);
        text.len() > 1 && text.bytes().all(is_letter)
    };
    page.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// Takes out what `text` defines: a function, a scenario or a mutant.
pub(crate) fn strike(names: &mut BTreeSet<&str>, text: &str) {
    names.retain(|name| {
        let forms = [
            format!("fn {name}("),
            format!("name: \"{name}\""),
            format!("=== {name} "),
        ];
        !forms.iter().any(|form| text.contains(form))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_defined_nowhere_is_left() {
        let page = "| `a_test` | `a-scenario`, `fb-4-x` | `polity verify`, `F` and `Docs.md`, `gone_test` |";
        let mut left = names(page);
        assert_eq!(
            left,
            BTreeSet::from(["a_test", "a-scenario", "fb-4-x", "gone_test"])
        );
        strike(&mut left, "#[test]\nfn a_test() {}\nname: \"a-scenario\",");
        strike(&mut left, "=== fb-4-x FB-4\nfn gone_test_2() {}");
        assert_eq!(left, BTreeSet::from(["gone_test"]));
    }
}
