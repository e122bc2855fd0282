//! Misspelt words, by the list of known misspellings behind the `typos` program. What is not on the
//! list passes: names of things, British and American spelling, other languages.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::tidy;

/// Words of this repository that the list takes for misspellings of others, as they are written, and
/// what they are.
const ALLOWED: [(&str, &str); 3] = [
    ("Teh", "an author"),
    ("arange", "a function of candle and PyTorch"),
    ("trainig", "misspelt on purpose, in a test of the message for it"),
];

/// Shorter words are mostly names of variables.
const SHORTEST: usize = 3;

/// The files that people read.
const EXTENSIONS: [&str; 5] = ["md", "py", "rs", "toml", "yml"];

/// Each misspelling in the files of the working tree that git does not ignore, with its place.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let misspellings = misspellings();
    let mut complaints = Vec::new();
    for name in tidy::files(root)? {
        let path = root.join(&name);
        if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes);
            complaints.extend(misspelt(&name, &text, &misspellings));
        }
    }
    Ok(complaints)
}

/// What should stand for each misspelling, all in small letters.
type Misspellings = HashMap<&'static str, &'static [&'static str]>;

fn misspellings() -> Misspellings {
    let entries = typos_dict::WORD.map.entries();
    let mut misspellings: Misspellings =
        entries.map(|(word, corrections)| (word.into_inner(), *corrections)).collect();
    misspellings.retain(|word, _| word.len() >= SHORTEST);
    misspellings
}

fn misspelt(name: &str, text: &str, misspellings: &Misspellings) -> Vec<String> {
    let mut complaints = Vec::new();
    let is_allowed = |word: &str| ALLOWED.iter().any(|(allowed, _)| *allowed == word);
    for (line_idx, line) in text.lines().enumerate() {
        // The `n` of an escaped line break belongs to no word.
        let line = line.replace("\\n", " ");
        for word in words(&line).into_iter().filter(|word| !is_allowed(word)) {
            if let Some(corrections) = misspellings.get(word.to_lowercase().as_str()) {
                let corrections = corrections.join(" or ");
                complaints.push(format!("{name}:{}: {word} should be {corrections}", line_idx + 1));
            }
        }
    }
    complaints
}

/// The words of a line; `snake_case` and `camelCase` are several. What touches a digit is a name or
/// a number in another base, and no word.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for run in line.split(|c: char| !c.is_alphanumeric()) {
        if run.contains(|c: char| c.is_numeric()) {
            continue;
        }
        let mut start = 0;
        let mut before = None;
        for (at, c) in run.char_indices() {
            if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
                words.push(&run[start..at]);
                start = at;
            }
            before = Some(c);
        }
        words.push(&run[start..]);
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In two parts, so that this file does not hold the word itself.
    fn wrong() -> String {
        ["rec", "ieve"].concat()
    }

    #[test]
    fn a_misspelt_word_is_found_in_prose_and_in_names() {
        let wrong = wrong();
        let capital = wrong.replacen('r', "R", 1);
        let list = misspellings();
        for line in [
            format!("we {wrong} it,"),
            format!("// {capital}: once."),
            format!("fn can_{wrong}_now()"),
            format!("struct Can{capital}Now;"),
            format!(r#""a\n{wrong}""#),
        ] {
            let complaints = misspelt("a.rs", &format!("fine\n{line}\n"), &list);
            assert_eq!(complaints.len(), 1, "{line}: {complaints:?}");
            assert!(complaints[0].starts_with("a.rs:2: "), "{complaints:?}");
            assert!(complaints[0].ends_with(" should be receive"), "{complaints:?}");
        }
    }

    #[test]
    fn british_and_american_spelling_names_and_numbers_pass() {
        let text = "colour color behaviour normalised normalized optimiser optimizer binarisation \
                    grey gray modelling labelled analyse artefact catvae gumbel logits rloo softmax \
                    Y. W. Teh, Tensor::arange, 0xdeadbeefteh 3rd \"a\\nnot b\"";
        assert_eq!(misspelt("a.md", text, &misspellings()), Vec::<String>::new());
    }

    #[test]
    fn a_misspelling_in_a_tree_is_named_with_its_file_and_data_are_not_read() {
        let root = tempfile::tempdir().unwrap();
        for name in ["README.md", "words.bin"] {
            fs::write(root.path().join(name), format!("to {}", wrong())).unwrap();
        }
        let complaints = check(root.path()).unwrap();
        assert_eq!(complaints, [format!("README.md:1: {} should be receive", wrong())]);
    }

    #[test]
    fn words_are_parted_as_names_are_written() {
        assert_eq!(
            words("fn to_HTML(KlDivergence x2) — don't"),
            ["fn", "to", "HTML", "Kl", "Divergence", "don", "t"]
        );
    }
}
