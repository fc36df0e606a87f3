//! New random values. The only place that draws them; it doesn't decide where they go.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{Value, ValueError};

/// How a value is made from the operating system's random number generator.
///
/// Written as a *spec*, on command lines and by [`fmt::Display`]; N is a decimal number:
///
/// | spec | the value | entropy in bits |
/// |---|---|---|
/// | `bytes:N` | N raw bytes | 8·N |
/// | `hex:N` | N bytes as 2·N lower-case hex digits | 8·N |
/// | `base64:N` | N bytes in standard base64 with padding: 4·⌈N/3⌉ characters | 8·N |
/// | `base64url:N` | N bytes in URL-safe base64 without padding: ⌈4·N/3⌉ characters | 8·N |
/// | `alphabet:A:N` | N characters, each drawn from the alphabet A with the same probability | N·log₂ of A's size |
///
/// An alphabet lists 2 to 94 different printable ASCII characters (no space). `a-z`, `A-Z`, `0-9`
/// and parts of these such as `a-f` stand for all between; a `-` that stands for itself is the
/// first or the last character. There is no escape character.
///
/// The value has 1 to [`Value::MAX_BYTES`] bytes, and no final newline. The default is
/// `base64url:32`: 43 characters of `A-Z a-z 0-9 - _`, 256 bits, which passes unquoted through
/// shells, URLs and dotenv files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    form: Form,
    /// How many random bytes, or characters of the alphabet.
    count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Bytes,
    Hex,
    Base64,
    Base64Url,
    Alphabet(Alphabet),
}

/// Different printable ASCII characters, and the text that lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alphabet {
    text: String,
    characters: Vec<u8>,
}

/// Why a text isn't a recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// It doesn't begin with one of the known forms and a colon.
    #[error(
        "{0:?} is not a recipe (bytes:N, hex:N, base64:N, base64url:N or alphabet:CHARACTERS:N)"
    )]
    Form(String),
    /// The count isn't a plain decimal number.
    #[error("{0:?} is not a count (1, 2, 3 …)")]
    Count(String),
    /// The value would be empty or larger than a value may be.
    #[error("a value of {bytes} bytes can't be made (1 to {} are possible)", Value::MAX_BYTES)]
    Size {
        /// The size it would have, in bytes.
        bytes: usize,
    },
    /// An alphabet of fewer than two characters leaves nothing to chance.
    #[error("the alphabet {0:?} has fewer than two characters")]
    AlphabetTooSmall(String),
    /// A character twice would be drawn twice as often.
    #[error("the alphabet has {0:?} twice")]
    AlphabetDuplicate(char),
    /// Not a printable ASCII character, or a space.
    #[error("the alphabet has {0:?}; only printable ASCII without spaces is possible")]
    AlphabetCharacter(char),
    /// A range such as `A-z` or `z-a`.
    #[error("{0:?} in the alphabet is not a range within a-z, A-Z or 0-9; put a plain `-` last")]
    AlphabetRange(String),
}

/// Why no value was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// There is no memory for it.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The operating system gave no random bytes.
    #[error("the system's random number generator failed")]
    Random(#[from] getrandom::Error),
}

impl Recipe {
    /// Makes a value, in locked memory; nothing that could tell it is left elsewhere.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn generate(&self) -> Result<Value, GenerateError> {
        match &self.form {
            Form::Bytes => random(self.count),
            Form::Hex => self.encode(|raw, text| {
                for (pair, byte) in text.chunks_exact_mut(2).zip(raw) {
                    pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xF)]);
                }
            }),
            Form::Base64 => self.encode(|raw, text| {
                let written = BASE64_STANDARD.encode_slice(raw, text);
                written.expect("len() is the encoded length");
            }),
            Form::Base64Url => self.encode(|raw, text| {
                let written = BASE64_URL_SAFE_NO_PAD.encode_slice(raw, text);
                written.expect("len() is the encoded length");
            }),
            Form::Alphabet(alphabet) => Value::fill(self.count, |text| {
                alphabet.draw_into(text).map_err(GenerateError::from)
            }),
        }
    }

    /// The exact size of the values it makes, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no recipe makes an empty value")]
    pub fn len(&self) -> usize {
        match self.form {
            Form::Bytes | Form::Alphabet(_) => self.count,
            Form::Hex => self.count.saturating_mul(2),
            Form::Base64 => self.count.div_ceil(3).saturating_mul(4),
            Form::Base64Url => self.count.saturating_mul(4).div_ceil(3),
        }
    }

    /// How hard its values are to guess, in bits: the binary logarithm of the number of values
    /// that are equally likely.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn entropy_bits(&self) -> f64 {
        let per_unit = match &self.form {
            Form::Alphabet(alphabet) => (alphabet.characters.len() as f64).log2(),
            _ => 8.0,
        };
        self.count as f64 * per_unit
    }

    fn encode(&self, encode: impl FnOnce(&[u8], &mut [u8])) -> Result<Value, GenerateError> {
        let raw = random(self.count)?;
        Value::fill(self.len(), |text| {
            encode(raw.expose_bytes(), text);
            Ok(())
        })
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self { form: Form::Base64Url, count: 32 }
    }
}

fn random(len: usize) -> Result<Value, GenerateError> {
    Value::fill(len, |bytes| getrandom::fill(bytes).map_err(GenerateError::from))
}

/// Without a table, whose cache lines could tell which digits were looked up.
fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

impl Alphabet {
    fn draw_into(&self, text: &mut [u8]) -> Result<(), getrandom::Error> {
        let mut pool = Zeroizing::new([0; 256]);
        let mut filled = 0;
        while filled < text.len() {
            getrandom::fill(&mut *pool)?;
            let drawn = pool.iter().filter_map(|&byte| self.pick(byte));
            for (character, slot) in drawn.zip(&mut text[filled..]) {
                *slot = character;
                filled += 1;
            }
        }
        Ok(())
    }

    /// The character that a random byte stands for. The bytes above the largest multiple of the
    /// alphabet's size stand for none: they would favour its first characters.
    fn pick(&self, byte: u8) -> Option<u8> {
        let size = self.characters.len();
        let fair = 256 - 256 % size;
        (usize::from(byte) < fair).then(|| self.characters[usize::from(byte) % size])
    }
}

impl FromStr for Alphabet {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        if let Some(other) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(RecipeError::AlphabetCharacter(other));
        }
        let mut characters = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            let (last, after) = match after {
                [b'-', last, after @ ..] => (last, after),
                _ => (first, after),
            };
            if first != last && !(first < last && same_class(*first, *last)) {
                let range = format!("{}-{}", char::from(*first), char::from(*last));
                return Err(RecipeError::AlphabetRange(range));
            }
            for character in *first..=*last {
                if characters.contains(&character) {
                    return Err(RecipeError::AlphabetDuplicate(char::from(character)));
                }
                characters.push(character);
            }
            rest = after;
        }
        if characters.len() < 2 {
            return Err(RecipeError::AlphabetTooSmall(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), characters })
    }
}

fn same_class(a: u8, b: u8) -> bool {
    (a.is_ascii_lowercase() && b.is_ascii_lowercase())
        || (a.is_ascii_uppercase() && b.is_ascii_uppercase())
        || (a.is_ascii_digit() && b.is_ascii_digit())
}

impl FromStr for Recipe {
    type Err = RecipeError;

    fn from_str(spec: &str) -> Result<Self, RecipeError> {
        let unknown = || RecipeError::Form(spec.to_owned());
        // An alphabet may hold colons itself, a count can't.
        let (form, count) = spec.rsplit_once(':').ok_or_else(unknown)?;
        let form = match form.split_once(':') {
            None if form == "bytes" => Form::Bytes,
            None if form == "hex" => Form::Hex,
            None if form == "base64" => Form::Base64,
            None if form == "base64url" => Form::Base64Url,
            Some(("alphabet", alphabet)) => Form::Alphabet(alphabet.parse()?),
            _ => return Err(unknown()),
        };
        let plain = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
        let parsed = if plain { count.parse().ok() } else { None };
        let count = parsed.ok_or_else(|| RecipeError::Count(count.to_owned()))?;
        let recipe = Self { form, count };
        match recipe.len() {
            1..=Value::MAX_BYTES => Ok(recipe),
            bytes => Err(RecipeError::Size { bytes }),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &self.form {
            Form::Bytes => "bytes",
            Form::Hex => "hex",
            Form::Base64 => "base64",
            Form::Base64Url => "base64url",
            Form::Alphabet(alphabet) => {
                return write!(f, "alphabet:{}:{}", alphabet.text, self.count);
            }
        };
        write!(f, "{form}:{}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(spec: &str) -> Recipe {
        spec.parse().unwrap()
    }

    fn error(spec: &str) -> RecipeError {
        spec.parse::<Recipe>().unwrap_err()
    }

    type Allowed = fn(u8) -> bool;

    #[test]
    fn values_have_the_documented_size_and_characters() {
        let url_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let cases: [(&str, usize, Allowed); 7] = [
            ("bytes:32", 32, |_| true),
            ("hex:32", 64, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            ("base64:32", 44, |b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)),
            ("base64url:32", 43, url_safe),
            ("alphabet:A-Za-z0-9:40", 40, |b| b.is_ascii_alphanumeric()),
            ("alphabet:01:5000", 5000, |b| b == b'0' || b == b'1'),
            ("alphabet::;-:9", 9, |b| b":;-".contains(&b)),
        ];
        for (spec, len, allowed) in cases {
            let value = recipe(spec).generate().unwrap();
            assert_eq!(value.len(), len, "{spec}");
            assert_eq!(recipe(spec).len(), len, "{spec}");
            assert!(value.expose_bytes().iter().all(|&b| allowed(b)), "{spec}");
            assert_eq!(recipe(spec).to_string(), spec);
        }
        let encoded = recipe("base64:32").generate().unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded.expose_bytes()).unwrap().len(), 32);
    }

    #[test]
    fn two_values_differ() {
        for spec in ["bytes:16", "hex:16", "base64:16", "base64url:16", "alphabet:a-z:30"] {
            let (a, b) = (recipe(spec).generate().unwrap(), recipe(spec).generate().unwrap());
            assert!(!a.same_as(&b), "{spec}");
        }
    }

    #[test]
    fn every_character_is_drawn_by_equally_many_bytes() {
        for text in ["01", "abc", "A-Za-z0-9", "a-f0-9", "A-Za-z0-9!#$%&()*+,./:;<=>?@^_{|}~-"] {
            let alphabet: Alphabet = text.parse().unwrap();
            let size = alphabet.characters.len();
            for character in &alphabet.characters {
                let drawn_by = (0..=255).filter(|&b| alphabet.pick(b) == Some(*character)).count();
                assert_eq!(drawn_by, 256 / size, "{text}");
            }
        }
    }

    #[test]
    fn every_character_of_an_alphabet_appears() {
        let value = recipe("alphabet:A-Za-z0-9:10000").generate().unwrap();
        let seen: std::collections::BTreeSet<_> = value.expose_bytes().iter().collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn entropy_is_exact() {
        assert_eq!(recipe("bytes:32").entropy_bits(), 256.0);
        assert_eq!(recipe("hex:16").entropy_bits(), 128.0);
        assert_eq!(Recipe::default().entropy_bits(), 256.0);
        assert_eq!(recipe("alphabet:01:40").entropy_bits(), 40.0);
        let letters = recipe("alphabet:A-Za-z0-9:40").entropy_bits();
        assert!((letters - 40.0 * 62f64.log2()).abs() < 1e-9);
    }

    #[test]
    fn each_refusal_names_its_reason() {
        for spec in ["", "32", "words:4", "bytes", "bytes:1:2", "alphabet:40"] {
            assert!(matches!(error(spec), RecipeError::Form(_)), "{spec}");
        }
        for spec in ["bytes:", "bytes:-1", "hex:+3", "hex:0x3", "alphabet:ab:x"] {
            assert!(matches!(error(spec), RecipeError::Count(_)), "{spec}");
        }
        assert_eq!(error("bytes:0"), RecipeError::Size { bytes: 0 });
        assert_eq!(error("hex:8388609"), RecipeError::Size { bytes: 16_777_218 });
        assert!(matches!(error(&format!("base64:{}", usize::MAX)), RecipeError::Size { .. }));
        assert!(matches!(error("alphabet:a:9"), RecipeError::AlphabetTooSmall(_)));
        assert_eq!(error("alphabet:aba:9"), RecipeError::AlphabetDuplicate('a'));
        assert_eq!(error("alphabet:0-95:9"), RecipeError::AlphabetDuplicate('5'));
        assert_eq!(error("alphabet:a b:9"), RecipeError::AlphabetCharacter(' '));
        assert_eq!(error("alphabet:aé:9"), RecipeError::AlphabetCharacter('é'));
        for spec in ["alphabet:A-z:9", "alphabet:z-a:9", "alphabet:!-~:9", "alphabet:9-A:9"] {
            assert!(matches!(error(spec), RecipeError::AlphabetRange(_)), "{spec}");
        }
    }
}
