//! "Did you mean …?"

/// The candidate that `text` was probably meant to be: the one with the fewest differences, if
/// these are few for its length.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer texts are nobody's typing error, and would take long to compare.
    const LONGEST_BYTES: usize = 64;
    if text.len() > LONGEST_BYTES {
        return None;
    }
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(text.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_what_was_meant() {
        let known = ["recipients", "rules", "alice", "ops"];
        for (text, meant) in
            [("recipent", "recipients"), ("Alice", "alice"), ("rulse", "rules"), ("op", "ops")]
        {
            assert_eq!(nearest(text, known), Some(meant), "{text}");
        }
    }

    #[test]
    fn what_resembles_nothing_finds_nothing() {
        for text in ["", "zebra", "recipe", &"recipients".repeat(10)] {
            assert_eq!(nearest(text, ["recipients", "rules", "alice"]), None, "{text}");
        }
    }
}
