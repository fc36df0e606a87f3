use super::*;
use proptest::prelude::*;

fn read(text: impl AsRef<[u8]>) -> Vec<(String, usize, Vec<u8>)> {
    let entries = DotenvEntry::read_all(text.as_ref()).unwrap();
    entries.into_iter().map(|e| (e.key, e.line, e.value.expose_bytes().to_vec())).collect()
}

/// The value of a file's only variable.
fn value(text: impl AsRef<[u8]>) -> Vec<u8> {
    let [(_, _, value)] = read(text).try_into().expect("one entry");
    value
}

fn error(text: impl AsRef<[u8]>) -> DotenvError {
    DotenvEntry::read_all(text.as_ref()).err().expect("refused")
}

#[test]
fn a_realistic_file_is_read_in_order() {
    let text = "# database\n\nDATABASE_URL=postgres://u:p@h/db?a=1&b=2\n  export COOKIE='a\"b$c`d\\n'  # x\nPEM=\"-----BEGIN X-----\nQUJD\n-----END X-----\n\"\n\t# end\nEMPTY=\nLAST=1";
    let entries = read(text);
    let expected: [(&str, usize, &str); 5] = [
        ("DATABASE_URL", 3, "postgres://u:p@h/db?a=1&b=2"),
        ("COOKIE", 4, "a\"b$c`d\\n"),
        ("PEM", 5, "-----BEGIN X-----\nQUJD\n-----END X-----\n"),
        ("EMPTY", 10, ""),
        ("LAST", 11, "1"),
    ];
    let expected = expected.map(|(key, line, value)| (key.to_owned(), line, value.into()));
    assert_eq!(entries, expected);
}

#[test]
fn windows_files_with_a_byte_order_mark_are_read() {
    let text = "\u{feff}A=1\r\n\r\n# c\r\nB='2'\r\nC=\r\nD=x y # z\r\n";
    let values: Vec<_> = read(text).into_iter().map(|(_, line, value)| (line, value)).collect();
    let expected: [(usize, &[u8]); 4] = [(1, b"1"), (4, b"2"), (5, b""), (6, b"x y")];
    assert_eq!(values, expected.map(|(line, value)| (line, value.to_vec())));
}

#[test]
fn unquoted_values_are_trimmed_and_end_before_a_comment() {
    assert_eq!(value("A=b c \t"), b"b c");
    assert_eq!(value("A=b c # d"), b"b c");
    assert_eq!(value("A=b\t#"), b"b");
    assert_eq!(value("A=a=b=="), b"a=b==");
    assert_eq!(value("export=1"), b"1");
    assert_eq!(value(b"A=\xFF\xFE"), b"\xFF\xFE");
}

#[test]
fn quoted_values_are_taken_as_documented() {
    assert_eq!(value(r#"A="a\n\r\t\"\\\$b""#), b"a\n\r\t\"\\$b");
    assert_eq!(value("A=' a # b '"), b" a # b ");
    assert_eq!(value(r"A='\\n\x'"), br"\\n\x");
    assert_eq!(value("A=\"it's # fine\"# comment"), b"it's # fine");
    assert_eq!(value("A=''"), b"");
    assert_eq!(value("A=\"\""), b"");
    assert_eq!(value(b"A='\xFF\n\xFE'"), b"\xFF\n\xFE");
}

#[test]
fn lines_are_counted_through_quoted_values() {
    let entries = read("A='\n\n'\nB=\"\n\"\nC=1\n");
    assert_eq!(entries.iter().map(|e| e.1).collect::<Vec<_>>(), [1, 4, 6]);
    assert!(matches!(error("A='\n\n'\nB=$x\n"), DotenvError::Interpolation { line: 4 }));
    assert!(matches!(error("A=\"\n\n$x\"\n"), DotenvError::Interpolation { line: 3 }));
}

#[test]
fn nothing_to_say_is_no_entry() {
    for text in ["", "\n", "\r\n", "  \t", "#", "# a\n\n  # b=c"] {
        assert!(read(text).is_empty(), "{text:?}");
    }
}

#[test]
fn what_tools_read_differently_is_refused() {
    use DotenvError as E;
    let refused = |text: &str, is: fn(&DotenvError) -> bool| {
        let error = error(text);
        assert!(is(&error), "{text:?}: {error}");
    };
    for text in ["A =1", "A= 1", "A = 1", "A=\t1", "A= ", "export A =1"] {
        refused(text, |e| matches!(e, E::SpaceAroundEquals { line: 1 }));
    }
    for text in ["A=$B", "A=${B}", "A=x$", "A=\"$B\"", "A=\"\\\\$B\""] {
        refused(text, |e| matches!(e, E::Interpolation { line: 1 }));
    }
    for text in ["A=`b`", "A=x`", "A=\"`b`\""] {
        refused(text, |e| matches!(e, E::Backquote { line: 1 }));
    }
    for text in [r"A=C:\x", r#"A="\x""#, "A=\"\\\n\"", r"A='a\'", r"A='a\'b'"] {
        refused(text, |e| matches!(e, E::Backslash { .. }));
    }
    for text in ["A=it's", "A={\"a\":1}", "A='a'b", "A=\"a\" b", "A='a''b'"] {
        refused(text, |e| matches!(e, E::StrayQuote { line: 1 }));
    }
    for text in ["A=a#b", "A=#b"] {
        refused(text, |e| matches!(e, E::AmbiguousComment { line: 1 }));
    }
    for text in ["A=\"x\ny", "A='x\n", "A='", "A=\"\\"] {
        refused(text, |e| matches!(e, E::UnclosedQuote { line: 1 }));
    }
    for text in ["A='a\r\nb'", "A=\"a\r\nb\"", "A=a\rB=b", "# a\rB=b"] {
        refused(text, |e| matches!(e, E::CarriageReturn { line: 1 }));
    }
    for text in ["A", "export A", "export", "\"A\""] {
        refused(text, |e| matches!(e, E::NoEquals { line: 1 }));
    }
    for text in ["1A=b", "A-B=c", "a.b=c", "=x", "é=x", "export A B=c", "A+=1"] {
        refused(text, |e| matches!(e, E::Key { line: 1 }));
    }
    for text in ["A=\0", "A='\0'", "A=\"\0\"", "# \0"] {
        refused(text, |e| matches!(e, E::Nul { line: 1 }));
    }
}

#[test]
fn a_variable_set_twice_is_refused_naming_both_lines() {
    let error = error("A=1\nB=2\nexport A=1\n");
    assert_eq!(error.to_string(), "A is set on line 1 and again on line 3");
}

#[test]
fn a_value_that_is_too_large_names_its_line() {
    let text = format!("A=1\nB={}", "x".repeat(Value::MAX_BYTES + 1));
    assert!(matches!(error(text), DotenvError::Value { line: 2, .. }));
}

#[test]
fn errors_never_show_a_value() {
    for text in
        ["A=canary$", "A='canary", "canary", "A=\"canary\\q\"", "canary-canary=x", "A=canary#"]
    {
        let error = error(text);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_value_survives_double_quotes(bytes in prop::collection::vec(1_u8.., 0..200)) {
        let mut text = b"A=\"".to_vec();
        for &byte in &bytes {
            match byte {
                b'\r' => text.extend(b"\\r"),
                b'"' | b'\\' | b'$' => text.extend([b'\\', byte]),
                b'`' => {}
                other => text.push(other),
            }
        }
        text.extend(b"\"\n");
        let kept: Vec<u8> = bytes.into_iter().filter(|&b| b != b'`').collect();
        prop_assert_eq!(value(text), kept);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = DotenvEntry::read_all(&bytes);
    }
}
