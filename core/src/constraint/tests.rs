use super::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nQUJD\nREU=\n-----END CERTIFICATE-----\n";

fn check(constraints: &Constraints, bytes: impl AsRef<[u8]>) -> Result<(), Violation> {
    constraints.check(&Value::copy_of(bytes.as_ref()).unwrap())
}

fn pem(bytes: impl AsRef<[u8]>) -> Result<(), Violation> {
    check(&Constraints { pem: Some(PemConstraint::Any), ..Constraints::default() }, bytes)
}

fn url(text: &str) -> Result<(), Violation> {
    check(&Constraints { url: Some(true), ..Constraints::default() }, text)
}

fn pattern(text: &str) -> Constraints {
    Constraints { pattern: Some(text.parse().unwrap()), ..Constraints::default() }
}

#[test]
fn without_constraints_every_value_passes() {
    check(&Constraints::default(), "").unwrap();
    check(&Constraints::default(), [0, 255]).unwrap();
}

#[test]
fn only_the_listed_lengths_pass() {
    let constraints = Constraints { bytes: Some(vec![16, 24, 32]), ..Constraints::default() };
    check(&constraints, [0; 32]).unwrap();
    let violation = check(&constraints, [0; 33]).unwrap_err();
    assert_eq!(violation.to_string(), "the value has 33 bytes, and only 16, 24 and 32 are allowed");
}

#[test]
fn a_pattern_is_of_the_whole_value() {
    check(&pattern("[0-9]+"), "123").unwrap();
    for other in ["123\n", "a123", "12 3", ""] {
        check(&pattern("[0-9]+"), other).unwrap_err();
    }
    check(&pattern("a|b"), "b").unwrap();
    check(&pattern("a|b"), "ab").unwrap_err();
    check(&pattern("^a$"), "a").unwrap();
    check(&pattern("(?s-u:.){2}"), [0xFF, b'\n']).unwrap();
}

#[test]
fn patterns_as_long_as_values_need_fit() {
    for text in ["[A-Za-z0-9+/]{40}", "[!-~]{8,256}", "sk_(live|test)_[0-9A-Za-z]{24,512}"] {
        text.parse::<ValuePattern>().unwrap();
    }
}

#[test]
fn bad_and_oversized_patterns_are_refused_on_one_line() {
    for text in ["a)|(b", "(", "[z-a]", "\\", "a{1000}{1000}", &"a".repeat(1025)] {
        let error = text.parse::<ValuePattern>().unwrap_err().to_string();
        assert!(!error.contains('\n') && !error.is_empty(), "{error}");
    }
}

#[test]
fn pem_blocks_pass_with_whitespace_around_them_only() {
    pem(CERTIFICATE).unwrap();
    pem(format!("\n{CERTIFICATE}\n{CERTIFICATE}  \n")).unwrap();
    pem(CERTIFICATE.replace('\n', "\r\n")).unwrap();
    pem(CERTIFICATE.trim_end()).unwrap();
    let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,\n 00\n\nQUJD\n-----END RSA PRIVATE KEY-----\n";
    pem(encrypted).unwrap();

    let problem = |text: String| match pem(text) {
        Err(Violation::Pem(problem)) => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(String::new()), PemProblem::NoBlock);
    assert_eq!(problem("QUJD".into()), PemProblem::NoBlock);
    assert_eq!(problem(format!("{CERTIFICATE}x\n")), PemProblem::Outside(5));
    assert_eq!(problem(CERTIFICATE.replace("END CERT", "END cert")), PemProblem::Unended(1));
    assert_eq!(problem(CERTIFICATE.replace("-----END", "----END")), PemProblem::Unended(1));
    for content in ["REU", "R=U=", "RE=U", "R===", "RE U", ""] {
        let text = CERTIFICATE.replace("QUJD\nREU=", content);
        assert_eq!(problem(text), PemProblem::NotBase64(1), "{content}");
    }
}

#[test]
fn a_pem_label_must_be_the_one_asked_for() {
    let wants = |label: &str| Constraints {
        pem: Some(PemConstraint::Label(label.to_owned())),
        ..Constraints::default()
    };
    check(&wants("CERTIFICATE"), CERTIFICATE).unwrap();
    let violation = check(&wants("PRIVATE KEY"), CERTIFICATE).unwrap_err();
    assert!(violation.to_string().contains("is not a PRIVATE KEY"), "{violation}");
}

#[test]
fn what_programs_take_as_a_url_passes() {
    for text in [
        "postgres://u:p@h/db",
        "postgres://user:p%40ss@db.internal:5432/app?sslmode=require",
        "https://example.org",
        "redis://:pw@10.0.0.1:6379/0",
        "sqlite:data/app.db",
        "unix:///run/app.sock",
    ] {
        assert_eq!(url(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_no_url_is_refused_with_the_reason() {
    let cases = [
        ("", "no scheme"),
        ("u:p@h/db ", "whitespace"),
        ("postgres://h/db\n", "newline"),
        ("h/db", "no scheme"),
        ("https://", "host"),
        ("file:///", "neither"),
        ("postgres://h:99999/db", "port"),
        ("https://h:x", "port"),
    ];
    for (text, reason) in cases {
        let violation = url(text).unwrap_err().to_string();
        assert!(violation.contains(reason), "{text:?}: {violation}");
    }
}

#[test]
fn violations_never_show_the_value() {
    const CANARY: &str = "canary";
    let constraints = [
        Constraints { bytes: Some(vec![1]), ..Constraints::default() },
        pattern("x"),
        Constraints { pem: Some(PemConstraint::Any), ..Constraints::default() },
        Constraints { url: Some(true), ..Constraints::default() },
    ];
    let texts = [
        CANARY.to_owned(),
        format!("-----BEGIN {CANARY}-----\n{CANARY}\n-----END {CANARY}"),
        format!("-----BEGIN {CANARY}-----\n{CANARY}!\n-----END {CANARY}-----"),
        format!("postgres://{CANARY}:{CANARY}@[{CANARY}]/{CANARY}"),
        format!("{CANARY}://{CANARY}:{CANARY}"),
    ];
    for constraints in &constraints {
        for text in &texts {
            if let Err(violation) = check(constraints, text) {
                assert!(!format!("{violation} {violation:?}").contains(CANARY));
            }
        }
    }
}
