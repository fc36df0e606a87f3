//! A secret's value: the type that keeps its bytes from leaking.

use std::io::{self, Read, Write};

use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use subtle::ConstantTimeEq;

use crate::memory::{LockedBytes, OutOfMemory};

/// The value of a secret: 0 to [`Value::MAX_BYTES`] bytes, of any content.
///
/// Its bytes live in locked memory that no core dump holds and are wiped on drop. There is no
/// `Debug`, `Display`, `Clone`, `PartialEq` or serialisation, so a value can't reach a log, an
/// error or a second place by accident; [`Value::expose_bytes`] is the one way to its bytes.
///
/// It does not protect from whoever can read this process's memory, and whatever the exposed
/// bytes are copied into is the copier's to wipe.
pub struct Value(SecretBox<LockedBytes>);

/// Why bytes could not become a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// More than [`Value::MAX_BYTES`].
    #[error("the value is larger than {} MiB, the largest that vaultfs keeps", Value::MAX_BYTES >> 20)]
    TooLarge,
    /// The system gave no memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Reading the value failed.
    #[error("reading the value failed")]
    Read(#[source] io::Error),
}

impl Value {
    /// The largest value, in bytes: 16 MiB.
    pub const MAX_BYTES: usize = 16 << 20;

    /// Reads a value to the end of `reader`, straight into locked memory.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] once more than [`Value::MAX_BYTES`] have been read; what was read
    /// until an error is wiped.
    pub fn read_from(reader: &mut impl Read) -> Result<Self, ValueError> {
        let mut buffer = ValueBuffer::new()?;
        buffer.read_from(reader)?;
        Ok(buffer.finish())
    }

    /// A copy of `bytes`. The caller's own copy is the caller's to wipe.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] above [`Value::MAX_BYTES`].
    pub fn copy_of(bytes: &[u8]) -> Result<Self, ValueError> {
        let mut buffer = ValueBuffer::with_capacity(bytes.len())?;
        buffer.push(bytes)?;
        Ok(buffer.finish())
    }

    /// A value of `len` bytes that `fill` writes in place.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] above [`Value::MAX_BYTES`], and the error of `fill`.
    pub fn fill<E: From<ValueError>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut buffer = ValueBuffer::with_capacity(len)?;
        buffer.len = len;
        fill(&mut buffer.bytes.expose_secret_mut()[..len])?;
        Ok(buffer.finish())
    }

    /// The bytes themselves. Don't copy, print or keep them.
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// How many bytes the value has. Not a secret: a file's size tells it.
    pub fn len(&self) -> usize {
        self.0.expose_secret().len()
    }

    /// True for a value of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both values have the same bytes, in a time that depends on the length alone.
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose_bytes().ct_eq(other.expose_bytes()).into()
    }
}

/// A value while it is being filled, in the same locked memory. What is dropped unfinished, or
/// left behind by growing, is wiped.
pub struct ValueBuffer {
    bytes: SecretBox<LockedBytes>,
    len: usize,
}

impl ValueBuffer {
    /// An empty buffer.
    ///
    /// # Errors
    /// [`ValueError::OutOfMemory`].
    pub fn new() -> Result<Self, ValueError> {
        Self::with_capacity(256)
    }

    /// An empty buffer that doesn't need to grow before it holds `capacity` bytes.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] above [`Value::MAX_BYTES`].
    pub fn with_capacity(capacity: usize) -> Result<Self, ValueError> {
        if capacity > Value::MAX_BYTES {
            return Err(ValueError::TooLarge);
        }
        let bytes = SecretBox::new(Box::new(LockedBytes::zeroed(capacity)?));
        Ok(Self { bytes, len: 0 })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] where the value would pass [`Value::MAX_BYTES`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ValueError> {
        let end = self.len.checked_add(bytes.len()).ok_or(ValueError::TooLarge)?;
        self.reserve(end)?;
        self.bytes.expose_secret_mut()[self.len..end].copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends all that `reader` has.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] and [`ValueError::Read`].
    pub fn read_from(&mut self, reader: &mut impl Read) -> Result<(), ValueError> {
        loop {
            // One byte more than the largest value tells "too large" from "just fits".
            if self.len == self.bytes.expose_secret().len() {
                if self.len == Value::MAX_BYTES {
                    let mut extra = [0; 1];
                    return match read_retrying(reader, &mut extra)? {
                        0 => Ok(()),
                        _ => Err(ValueError::TooLarge),
                    };
                }
                self.reserve(self.len + 1)?;
            }
            let free = &mut self.bytes.expose_secret_mut()[self.len..];
            match read_retrying(reader, free)? {
                0 => return Ok(()),
                count => self.len += count,
            }
        }
    }

    /// Drops one newline (`\n` or `\r\n`) from the end, and says whether there was one.
    pub fn trim_final_newline(&mut self) -> bool {
        let filled = &self.bytes.expose_secret()[..self.len];
        let newline =
            if filled.ends_with(b"\r\n") { 2 } else { usize::from(filled.ends_with(b"\n")) };
        self.len -= newline;
        newline > 0
    }

    /// Drops the last character: one byte, or all bytes of one in UTF-8.
    pub fn remove_last_character(&mut self) {
        let is_continuation = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let continued = self.expose_bytes().iter().rev().take(3).take_while(|b| is_continuation(b));
        let dropped = continued.count() + 1;
        self.len = self.len.saturating_sub(dropped);
    }

    /// The bytes so far.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.bytes.expose_secret()[..self.len]
    }

    /// The finished value.
    pub fn finish(mut self) -> Value {
        let len = self.len;
        self.bytes.expose_secret_mut().truncate(len);
        Value(self.bytes)
    }

    fn reserve(&mut self, needed: usize) -> Result<(), ValueError> {
        if needed > Value::MAX_BYTES {
            return Err(ValueError::TooLarge);
        }
        let capacity = self.bytes.expose_secret().len();
        if needed > capacity {
            let grown = needed.max(capacity * 2).min(Value::MAX_BYTES);
            let mut larger = LockedBytes::zeroed(grown)?;
            larger[..self.len].copy_from_slice(&self.bytes.expose_secret()[..self.len]);
            self.bytes = SecretBox::new(Box::new(larger));
        }
        Ok(())
    }
}

fn read_retrying(reader: &mut impl Read, into: &mut [u8]) -> Result<usize, ValueError> {
    loop {
        match reader.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(ValueError::Read),
        }
    }
}

impl Write for ValueBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use static_assertions::assert_not_impl_any;
    use std::fmt::{Debug, Display};

    assert_not_impl_any!(Value: Debug, Display, Clone, PartialEq, serde::Serialize);
    assert_not_impl_any!(ValueBuffer: Debug, Display, Clone, PartialEq, serde::Serialize);

    #[test]
    fn bytes_come_back_exactly() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        assert_eq!(Value::read_from(&mut &bytes[..]).unwrap().expose_bytes(), bytes);
        assert_eq!(Value::copy_of(&bytes).unwrap().expose_bytes(), bytes);
        assert!(Value::copy_of(b"").unwrap().is_empty());
    }

    #[test]
    fn the_largest_value_fits_and_one_byte_more_is_refused() {
        let mut fits = io::repeat(7).take(Value::MAX_BYTES as u64);
        assert_eq!(Value::read_from(&mut fits).unwrap().len(), Value::MAX_BYTES);
        let mut too_large = io::repeat(7).take(Value::MAX_BYTES as u64 + 1);
        assert!(matches!(Value::read_from(&mut too_large), Err(ValueError::TooLarge)));
        let error = Value::copy_of(&vec![0; Value::MAX_BYTES + 1]).err().unwrap();
        assert!(error.to_string().contains("16 MiB"));
    }

    #[test]
    fn only_one_final_newline_is_trimmed() {
        for (text, trimmed) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")]
        {
            let mut buffer = ValueBuffer::new().unwrap();
            buffer.push(text.as_bytes()).unwrap();
            assert_eq!(buffer.trim_final_newline(), text != trimmed);
            assert_eq!(buffer.finish().expose_bytes(), trimmed.as_bytes());
        }
    }

    #[test]
    fn the_last_character_is_removed_whole() {
        let mut buffer = ValueBuffer::new().unwrap();
        buffer.push("aé€".as_bytes()).unwrap();
        for rest in ["aé", "a", "", ""] {
            buffer.remove_last_character();
            assert_eq!(buffer.expose_bytes(), rest.as_bytes());
        }
    }

    #[test]
    fn a_failing_reader_is_an_error() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::BrokenPipe))
            }
        }
        assert!(matches!(Value::read_from(&mut Failing), Err(ValueError::Read(_))));
    }

    #[test]
    fn equality_is_of_the_bytes() {
        let value = |bytes: &[u8]| Value::copy_of(bytes).unwrap();
        assert!(value(b"a").same_as(&value(b"a")));
        assert!(!value(b"a").same_as(&value(b"b")));
        assert!(!value(b"a").same_as(&value(b"aa")));
    }
}
