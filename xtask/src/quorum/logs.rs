//! What a firmware says with defmt, decoded by what its image knows.

use std::path::{Path, PathBuf};

use defmt_decoder::{DecodeError, StreamDecoder, Table};

use super::places::placed;

/// Bytes without an end of a frame after which the rest is given up: no log is that long.
const FRAME_MAX: usize = 64 << 10;

/// The texts that are in the image of a firmware.
#[derive(Debug)]
pub(crate) struct Texts {
    table: Table,
    image: PathBuf,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// `error`, `warn`, `info`, `debug`, `trace`; what is printed without has none.
    pub(crate) level: Option<&'static str>,
    /// When it was said, as the board counts.
    pub(crate) time: String,
    pub(crate) text: String,
}

impl Texts {
    /// Reads them from an image.
    ///
    /// # Errors
    /// What is wrong with the image.
    pub(crate) fn read(image: &Path) -> Result<Self, String> {
        let wrong = |why: String| format!("{}: {why}", image.display());
        let bytes = std::fs::read(image).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&bytes, image).map_err(wrong)
    }

    fn parse(bytes: &[u8], image: &Path) -> Result<Self, String> {
        match Table::parse(bytes) {
            Ok(Some(table)) => Ok(Self { table, image: image.to_owned() }),
            Ok(None) => Err("this firmware says nothing with defmt".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// What decodes a firmware's bytes from its start on.
    pub(crate) fn listen(&self) -> Listening<'_> {
        Listening { table: &self.table, decoder: self.table.new_stream_decoder(), pending: 0 }
    }

    /// What the firmware says without defmt: of a fault, the line of the source besides.
    pub(crate) fn explain(&self, line: Line) -> Line {
        match placed(&line.text, &self.image) {
            Some(text) => Line { text, ..line },
            None => line,
        }
    }
}

/// A stream of bytes that becomes lines.
pub(crate) struct Listening<'t> {
    table: &'t Table,
    decoder: Box<dyn StreamDecoder + Send + Sync + 't>,
    /// Bytes since the last frame.
    pending: usize,
}

impl Listening<'_> {
    /// More bytes have come; each line that is whole now.
    pub(crate) fn received(&mut self, bytes: &[u8], mut each: impl FnMut(Line)) {
        self.decoder.received(bytes);
        self.pending += bytes.len();
        let mut spoilt = false;
        loop {
            match self.decoder.decode() {
                Ok(frame) => {
                    #[expect(
                        clippy::redundant_closure_for_method_calls,
                        reason = "the type is another crate's"
                    )]
                    let level = frame.level().map(|level| level.as_str());
                    each(Line {
                        level,
                        time: frame
                            .display_timestamp()
                            .map(|time| time.to_string())
                            .unwrap_or_default(),
                        text: frame.display_message().to_string(),
                    });
                    self.pending = 0;
                }
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => {
                    each(Line {
                        level: None,
                        time: String::new(),
                        text: "(bytes that are no log)".to_owned(),
                    });
                    self.pending = 0;
                    if !self.table.encoding().can_recover() {
                        spoilt = true;
                        break;
                    }
                }
            }
        }
        if spoilt || self.pending > FRAME_MAX {
            self.decoder = self.table.new_stream_decoder();
            self.pending = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of a firmware that says six lines, without its code.
    const IMAGE: &[u8] = include_bytes!("recorded/texts.elf");

    /// What it said in QEMU.
    const SAID: &[u8] = include_bytes!("recorded/said.bin");

    /// Where the headers of an ELF file may be: nobody promises that of bytes in a program.
    fn image() -> Vec<u8> {
        IMAGE.to_vec()
    }

    fn line(level: &'static str, time: &str, text: &str) -> Line {
        Line { level: Some(level), time: time.to_owned(), text: text.to_owned() }
    }

    fn said() -> Vec<Line> {
        vec![
            line("info", "0.000", "server 1 on 10.0.2.101"),
            line("debug", "1.234", "leading, with a history that ends at zxid 0x100000002"),
            line("warn", "2.468", "server 3 is silent"),
            line("info", "3.702", "serving as leader of epoch 7"),
            line("error", "4.936", "the disk: worn"),
            line("trace", "6.170", "the end"),
        ]
    }

    #[test]
    fn recorded_bytes_are_decoded_in_any_pieces() {
        let texts = Texts::parse(&image(), Path::new("")).unwrap();
        for len in [1, 2, 3, 7, SAID.len()] {
            let (mut listening, mut lines) = (texts.listen(), Vec::new());
            for piece in SAID.chunks(len) {
                listening.received(piece, |line| lines.push(line));
            }
            assert_eq!(lines, said(), "{len}");
        }
    }

    #[test]
    fn what_is_no_log_does_not_hide_the_rest() {
        let texts = Texts::parse(&image(), Path::new("")).unwrap();
        let (mut listening, mut lines) = (texts.listen(), Vec::new());
        listening.received(b"\x07\x07panicked\0", |line| lines.push(line));
        assert!(lines.iter().all(|line| line.text == "(bytes that are no log)"), "{lines:?}");
        assert!(!lines.is_empty());
        lines.clear();
        listening.received(SAID, |line| lines.push(line));
        assert_eq!(lines, said());
        // Nor what has no end.
        lines.clear();
        for _ in 0..2 {
            listening.received(&[7; FRAME_MAX], |line| lines.push(line));
        }
        assert_eq!((listening.pending, lines.len()), (0, 0));
        listening.received(SAID, |line| lines.push(line));
        assert_eq!(lines, said());
    }

    #[test]
    fn an_image_without_texts_is_told() {
        assert!(Texts::parse(b"no image", Path::new("")).is_err());
        let error = Texts::read(Path::new("no such file")).unwrap_err();
        assert!(error.starts_with("no such file: "), "{error}");
    }
}
