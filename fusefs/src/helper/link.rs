//! The two ends of the conversation with the helper process.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::access::Reader;

/// How long a message may be: two paths and a word.
const LONGEST_BYTES: u64 = 16 << 10;

/// One end: messages are lines, their words separated by NUL.
pub(super) struct Link(BufReader<UnixStream>);

impl Link {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self(BufReader::new(socket))
    }

    pub(super) fn socket(&self) -> &UnixStream {
        self.0.get_ref()
    }

    /// The first message: whom to become, and the hidden mount.
    pub(super) fn send_identity(
        &mut self,
        reader: Reader,
        hidden: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&reader.uid.to_le_bytes());
        bytes[4..].copy_from_slice(&reader.gid.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = hidden.into_iter().collect();
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        sendmsg(self.0.get_ref(), &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives what [`Link::send_identity`] sent.
    pub(super) fn receive_identity(&mut self) -> io::Result<(Reader, Option<OwnedFd>)> {
        let mut bytes = [0; 8];
        let (received, hidden) = receive_descriptor(self.0.get_ref(), &mut bytes)?;
        if received != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(number)
        };
        Ok((Reader { uid: number(0), gid: number(4) }, hidden))
    }

    /// Sends one message. Words have neither NUL nor newline.
    pub(super) fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut line = words.join("\0");
        if line.contains('\n') {
            return Err(io::Error::other("a path with a newline can't be passed on"));
        }
        line.push('\n');
        self.0.get_mut().write_all(line.as_bytes())
    }

    /// Receives one message; the end of the conversation is an error, and so is a message without
    /// one: the reader may have the helper say anything.
    pub(super) fn receive(&mut self) -> io::Result<Vec<String>> {
        let mut line = String::new();
        (&mut self.0).take(LONGEST_BYTES).read_line(&mut line)?;
        let line = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.split('\0').map(str::to_owned).collect())
    }
}

/// Receives bytes, and the descriptor that came with them.
pub(crate) fn receive_descriptor(
    socket: &UnixStream,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(bytes)];
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptor = None;
    for ancillary in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = ancillary {
            descriptor = descriptors.next();
        }
    }
    Ok((message.bytes, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_end_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Link::new(ours), Link::new(theirs));
        theirs.send(&["rename", &"a".repeat(4095), &"b".repeat(4095)]).unwrap();
        assert_eq!(ours.receive().unwrap().len(), 3);
        theirs.0.get_mut().write_all(&[b'a'; 16 << 10]).unwrap();
        assert!(ours.receive().is_err(), "without waiting for more");
    }
}
