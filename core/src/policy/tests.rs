use super::*;
use std::error::Error as _;

const ALICE: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const WEB: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
const BOB: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

/// Every field; the lines are counted in the tests below.
const FULL: &str = "\
version: 1
vault: 4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11
recipients:
  alice: ALICE
  bob: BOB
  web1: WEB web1@example.org
groups:
  ops: [alice, bob]
  all: [web1, ops]
rules:
  - path: \"prod/**\"
    to: [ops, web1]
    rotate_every: 90d
  - path: \"**\"
    to: [alice]
leaving:
  - {recipient: bob, until: 2026-12-01}
secrets:
  \"prod/*\": {rotate_every: 60d, bytes: 32, description: general}
  prod/COOKIE:
    description: session cookie
    env: WEB_COOKIE
    required: true
    bytes: [16, 32]
    pattern: '[!-~]+'
    pem: PRIVATE KEY
    url: false
    rotate_every: 30d
    generate: {bytes: 32}
  dev/x-y: {}
removed:
  prod/OLD: 7
";

fn full() -> String {
    FULL.replace("ALICE", ALICE).replace("BOB", BOB).replace(": WEB ", &format!(": {WEB} "))
}

fn policy() -> Policy {
    Policy::parse(&full()).unwrap()
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn recipients_on(policy: &Policy, secret: &str, today: &str) -> Vec<String> {
    let recipients = policy.recipients_for(&name(secret), date(today)).unwrap();
    recipients.into_iter().map(|r| r.name.clone()).collect()
}

#[test]
fn the_first_matching_rule_decides_and_groups_expand_in_the_order_of_recipients() {
    let policy = policy();
    assert_eq!(recipients_on(&policy, "prod/A", "2026-01-01"), ["alice", "bob", "web1"]);
    assert_eq!(recipients_on(&policy, "dev/A", "2026-01-01"), ["alice"]);
    assert_eq!(policy.rule_for(&name("prod/A")).unwrap().pattern.as_str(), "prod/**");
    assert_eq!(policy.vault_id().to_string(), "4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11");
    assert_eq!(policy.recipient("web1").unwrap().as_str(), WEB);
    let fingerprint = policy.recipient("bob").unwrap().fingerprint();
    assert_eq!(policy.name_of(&fingerprint), Some("bob"));
    assert_eq!(policy.removed().get(&name("prod/OLD")).unwrap().number(), 7);
}

#[test]
fn who_leaves_is_a_recipient_through_the_last_day_only() {
    assert_eq!(recipients_on(&policy(), "prod/A", "2026-12-01"), ["alice", "bob", "web1"]);
    assert_eq!(recipients_on(&policy(), "prod/A", "2026-12-02"), ["alice", "web1"]);
}

#[test]
fn without_a_rule_or_with_everyone_gone_there_are_no_recipients() {
    let text = full().replace("\"**\"\n", "\"dev/*\"\n").replace("[alice]\n", "[bob]\n");
    let policy = Policy::parse(&text).unwrap();
    let gap = |secret: &str| policy.recipients_for(&name(secret), date("2027-01-01")).unwrap_err();
    assert_eq!(gap("other"), PolicyGap::NoRule(name("other")));
    assert!(matches!(gap("dev/A"), PolicyGap::EveryoneLeft { .. }));
}

#[test]
fn settings_merge_field_by_field_with_the_exact_name_first() {
    let cookie = policy().settings_for(&name("prod/COOKIE"));
    assert_eq!(cookie.description.as_deref(), Some("session cookie"));
    assert_eq!(cookie.rotate_every, Some(Duration::from_hours(30 * 24)));
    assert_eq!(cookie.constraints.bytes, Some(vec![16, 32]));
    assert_eq!(cookie.constraints.pattern.unwrap().as_str(), "[!-~]+");
    assert_eq!(cookie.constraints.pem, Some(crate::PemConstraint::Label("PRIVATE KEY".into())));
    assert_eq!(cookie.constraints.url, Some(false));
    assert_eq!(cookie.generate.unwrap().to_string(), "bytes:32");
    assert!(cookie.required);

    let other = policy().settings_for(&name("prod/OTHER"));
    assert_eq!(other.description.as_deref(), Some("general"));
    assert_eq!(other.rotate_every, Some(Duration::from_hours(60 * 24)));
    assert!(!other.required);
    let deeper = policy().settings_for(&name("prod/a/b"));
    assert_eq!(deeper.rotate_every, Some(Duration::from_hours(90 * 24)), "the rule's");
    assert_eq!(policy().settings_for(&name("A")), SecretSettings::default());
}

#[test]
fn the_first_of_several_patterns_has_each_field() {
    let text = full().replace(
        "  dev/x-y: {}",
        "  \"dev/*\": {url: true}\n  \"**\": {url: false, required: true}\n  dev/DB: {}",
    );
    let policy = Policy::parse(&text).unwrap();
    let settings = policy.settings_for(&name("dev/DB"));
    assert_eq!((settings.constraints.url, settings.required), (Some(true), true));
    let expected: Vec<_> = policy.expected().map(|(name, r)| (name.to_string(), r)).collect();
    assert_eq!(expected, [("prod/COOKIE".into(), true), ("dev/DB".into(), true)]);
}

#[test]
fn a_variable_is_named_by_the_policy_or_by_the_last_segment() {
    let policy = policy();
    assert_eq!(policy.env_name(&name("prod/COOKIE")).unwrap(), "WEB_COOKIE");
    assert_eq!(policy.env_name(&name("prod/DATABASE_URL")).unwrap(), "DATABASE_URL");
    for bad in ["dev/x-y", "dev/1A", "a.b"] {
        assert_eq!(policy.env_name(&name(bad)), Err(PolicyGap::NoEnvName(name(bad))));
    }
}

#[test]
fn rules_that_decide_nothing_are_reported_with_their_position() {
    let text =
        full().replace("  - path: \"**\"", "  - {path: prod/A, to: [bob]}\n  - path: \"**\"");
    let policy = Policy::parse(&text).unwrap();
    let names = [name("prod/A"), name("dev/B")];
    let unused = policy.unused_rules(&names);
    assert_eq!(unused.len(), 1, "hidden behind prod/**");
    assert_eq!(unused[0].position, Some(Position { line: 14, column: 5 }));
    assert_eq!(policy.unused_rules(&[]).len(), 3);
}

#[test]
fn empty_sections_are_as_good_as_none() {
    let text = full();
    let (head, _) = text.split_once("leaving:").unwrap();
    let short = Policy::parse(head).unwrap();
    let empty = "leaving:\nsecrets: # nothing\nremoved: {}\n";
    assert_eq!(Policy::parse(&format!("{head}{empty}")).unwrap(), short);
    assert_eq!(Policy::parse(&head.replace('\n', "\r\n")).unwrap(), short);
    assert_eq!(Policy::parse(&format!("---\n{head}...\n")).unwrap(), short);
}

/// Replaces `old` by `new` in the full policy, and gives the error: its whole text, with causes.
fn error_after(old: &str, new: &str) -> String {
    let text = full();
    assert!(text.contains(old), "{old}");
    let Err(error) = Policy::parse(&text.replacen(old, new, 1)) else {
        panic!("{new:?} is accepted");
    };
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// What is replaced in the full policy, by what, and the problem that it makes.
const PROBLEMS: &[(&str, &str, &str)] = &[
    // Structure.
    ("groups:", "grups:", r#"line 7, column 1: unknown field "grups"; did you mean `groups`?"#),
    (
        "    to: [alice]",
        "    too: [alice]",
        "line 15, column 5: unknown field \"too\"; did you mean `to`?",
    ),
    ("url: false", "zebra: 1", "line 27, column 5: unknown field \"zebra\""),
    (
        "{bytes: 32}\n",
        "{byte: 32}\n",
        "line 29, column 16: unknown field \"byte\"; did you mean `bytes`?",
    ),
    ("    to: [alice]\n", "", "line 14, column 5: the field `to` is missing"),
    (
        "vault: 4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11\n",
        "",
        "line 1, column 1: the field `vault` is missing",
    ),
    ("version: 1\n", "", "line 1, column 1: the field `version` is missing"),
    (
        "version: 1",
        "version: 2",
        r#"line 1, column 10: policy version "2" is not known; this vaultfs knows version 1"#,
    ),
    (
        "version: 1",
        "version: 2\nnew_field: x",
        r#"line 1, column 10: policy version "2" is not known; this vaultfs knows version 1"#,
    ),
    ("[alice]\n", "alice\n", "line 15, column 9: `rules[1].to` must be a list, not text"),
    (
        "  ops: [alice, bob]",
        "  ops: {alice: bob}",
        "line 8, column 8: `groups.ops` must be a list, not a mapping",
    ),
    (
        "required: true",
        "required: 3",
        "line 23, column 15: `secrets.prod/COOKIE.required` must be true or false, not a number",
    ),
    (
        "bytes: [16, 32]",
        "bytes: [16, -32]",
        "line 24, column 17: `secrets.prod/COOKIE.bytes[1]` must be a whole number, 0 or more, not a number",
    ),
    (
        "bytes: [16, 32]",
        "bytes: short",
        "line 24, column 12: `secrets.prod/COOKIE.bytes` must be a whole number or a list of them, not text",
    ),
    (
        "pem: PRIVATE KEY",
        "pem: [x]",
        "line 26, column 10: `secrets.prod/COOKIE.pem` must be true, false or text, not a list",
    ),
    (
        "prod/OLD: 7",
        "prod/OLD: '7'",
        "line 32, column 13: `removed.prod/OLD` must be a whole number, 0 or more, not text",
    ),
    (
        "  dev/x-y: {}",
        "  dev/x-y: 1",
        "line 30, column 12: `secrets.dev/x-y` must be a mapping, not a number",
    ),
    // Syntax.
    ("  ops:", "\tops:", "line 8, column 1: a tab is used for indentation; use spaces"),
    (
        "    to: [alice]",
        "  \t  to: [alice]",
        "line 15, column 3: a tab is used for indentation; use spaces",
    ),
    ("[ops, web1]", "[ops, web1", "line 13, column 17: not valid YAML"),
    ("  bob:", "  alice:", r#"line 5, column 3: "alice" is here already, on line 4"#),
    ("  all:", "  \"ops\":", r#"line 9, column 3: "ops" is here already, on line 8"#),
    ("groups:", "version: 1\ngroups:", r#"line 7, column 1: "version" is here already, on line 1"#),
    (
        "  dev/x-y: {}",
        "  prod/COOKIE: {}",
        r#"line 30, column 3: "prod/COOKIE" is here already, on line 20"#,
    ),
    (
        "{}\nremoved",
        "{url: true, url: true}\nremoved",
        r#"line 30, column 24: "url" is here already, on line 30"#,
    ),
    ("[ops, web1]", "&who [ops, web1]", "line 12, column 9: anchors and aliases"),
    ("[ops, web1]", "*who", "line 12, column 9: anchors and aliases"),
    (
        "\"**\"",
        "**",
        "line 14, column 11: anchors and aliases (& and *) aren't allowed; write the text out, or quote it",
    ),
    ("\"**\"", "*/URL", "line 14, column 11: anchors and aliases"),
    ("\"**\"", "*", "line 14, column 11: anchors and aliases"),
    ("[ops, web1]", "!seq [ops, web1]", "line 12, column 9: tags (!) aren't allowed"),
    ("{}\nremoved", "[[[[[[[[[[]]]]]]]]]]\nremoved", "line 30, column 18: nested too deeply"),
    (
        "prod/OLD: 7\n",
        "prod/OLD: 7\n---\nversion: 1\n",
        "line 33, column 1: a policy is one YAML document",
    ),
    ("  ops:", "  [ops]:", "line 8, column 3: the name of an entry must be plain text"),
    ("session", "ses\u{202e}sion", "line 21, column 21: the character U+202E isn't allowed"),
    ("session", "ses\u{2028}sion", "line 21, column 21: the character U+2028 isn't allowed"),
    ("session", "ses\rsion", "line 21, column 21: the character U+000D isn't allowed"),
    ("version", "\u{feff}version", "line 1, column 1: the character U+FEFF isn't allowed"),
    // Meaning.
    ("4f0c0e0e-2d", "4F0C0E0E-2d", "line 2, column 8: `vault` can't be read: \"4F0C0E0E-2d5c"),
    ("  bob:", "  bob x:", r#"line 5, column 3: "bob x" can't name a recipient or group"#),
    ("  ops:", "  -ops:", r#"line 8, column 3: "-ops" can't name a recipient or group"#),
    (
        BOB,
        "age1qqqq",
        "line 5, column 8: the recipient bob can't be read: \"age1qqqq\" looks like an age",
    ),
    (BOB, "", "line 5, column 6: the recipient bob can't be read: \"\" is not an age recipient"),
    (BOB, ALICE, "line 5, column 8: bob is the same recipient as alice"),
    ("  ops: [alice", "  bob: [alice", "line 8, column 3: bob is both a recipient and a group"),
    (
        "[alice, bob]",
        "[alice, bbo]",
        r#"line 8, column 16: "bbo" is neither a recipient nor a group; did you mean `bob`?"#,
    ),
    (
        "[ops, web1]",
        "[opps, web1]",
        r#"line 12, column 10: "opps" is neither a recipient nor a group; did you mean `ops`?"#,
    ),
    ("[ops, web1]", "[ops,\n      web1, ops]", "line 13, column 13: ops is in this list twice"),
    ("{recipient: bob", "{recipient: ops", r#"line 17, column 17: "ops" is not a recipient"#),
    (
        "{recipient: bob",
        "{recipient: alic",
        r#"line 17, column 17: "alic" is not a recipient; did you mean `alice`?"#,
    ),
    (
        "2026-12-01}",
        "2026-12-01}\n  - {until: 2027-01-01, recipient: bob}",
        "line 18, column 36: bob is listed as leaving already",
    ),
    (
        "2026-12-01",
        "2026-13-01",
        r#"line 17, column 29: "2026-13-01" is not a date (such as 2026-12-01)"#,
    ),
    (
        "2026-12-01",
        "20261201",
        r#"line 17, column 29: "20261201" is not a date (such as 2026-12-01)"#,
    ),
    ("[alice, bob]", "[alice, ops]", "line 8, column 3: the group ops contains itself: ops → ops"),
    ("[alice, bob]", "[alice, all]", "contains itself: all → ops → all"),
    ("[alice]\n", "[]\n", "line 15, column 9: the rule for ** reaches no recipient"),
    (
        "\"prod/**\"",
        "prod/",
        "line 11, column 11: the pattern can't be read: \"prod/\" has an empty segment",
    ),
    ("\"prod/**\"", "", "line 11, column 9: the pattern can't be read: the pattern is empty"),
    (
        "dev/x-y",
        "dev/x y",
        "line 30, column 3: the pattern can't be read: \"dev/x y\" has the character ' '",
    ),
    (
        "90d",
        "90",
        r#"line 13, column 19: "90" is not a period (such as 12h, 90d or 4w, at most 36500 days)"#,
    ),
    ("30d", "1y", r#"line 28, column 19: "1y" is not a period"#),
    ("[16, 32]", "[16, 0]", "line 24, column 17: no value can have 0 bytes"),
    ("[16, 32]", "16777217", "line 24, column 12: no value can have 16777217 bytes"),
    ("[16, 32]", "[]", "line 24, column 12: `bytes` allows no length at all"),
    (
        "'[!-~]+'",
        "'[!-~+'",
        "line 25, column 14: the regular expression \"[!-~+\" can't be used: unclosed character class",
    ),
    (
        "PRIVATE KEY",
        "-----BEGIN X-----",
        r#"line 26, column 10: "-----BEGIN X-----" is not the label of a PEM block"#,
    ),
    ("WEB_COOKIE", "WEB-COOKIE", r#"line 22, column 10: "WEB-COOKIE" can't name a variable"#),
    (
        "{rotate_every: 60d,",
        "{env: X,",
        "line 19, column 19: `env` needs the exact name of a secret; prod/* may match several",
    ),
    (
        "session cookie",
        r#""a\e[31mb""#,
        "line 21, column 18: the description has control characters",
    ),
    ("{bytes: 32}\n", "{bytes: 32, hex: 3}\n", "line 29, column 15: `generate` takes one of"),
    ("{bytes: 32}\n", "{alphabet: ab}\n", "line 29, column 15: `generate` takes one of"),
    (
        "{bytes: 32}\n",
        "{alphabet: aa, length: 32}\n",
        "line 29, column 15: the recipe can't be used: the alphabet has 'a' twice",
    ),
    (
        "{bytes: 32}\n",
        "{hex: 32}\n",
        "line 29, column 15: `generate` makes values of 64 bytes, which `bytes` doesn't allow",
    ),
    (
        "dev/x-y: {}",
        "prod/X: {generate: {hex: 32}}",
        "line 30, column 22: `generate` makes values of 64 bytes",
    ),
    (
        "prod/OLD",
        "prod/OLD.age",
        "line 32, column 3: the name of the removed secret can't be read: \"prod/OLD.age\" has a segment",
    ),
    ("OLD: 7", "OLD: 0", "line 32, column 13: 0 is not a generation"),
];

#[test]
fn every_problem_is_named_with_its_exact_position() {
    let wrong: Vec<_> = PROBLEMS
        .iter()
        .map(|&(old, new, expected)| (old, new, expected, error_after(old, new)))
        .filter(|(_, _, expected, message)| !message.contains(expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_private_identity_is_refused_wherever_it_stands_and_never_repeated() {
    const PRIVATE: &str = "AGE-SECRET-KEY-1QCANARYCANARYCANARY";
    let places = [
        (BOB, PRIVATE.to_owned()),
        (BOB, PRIVATE.to_lowercase()),
        (BOB, format!("x{PRIVATE}")),
        (BOB, "AGE-PLUGIN-YUBIKEY-1CANARYCANARY".to_owned()),
        (BOB, "|\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    canary".to_owned()),
        ("version: 1", format!("version: 1 # {PRIVATE}")),
        ("recipients:", format!("{PRIVATE}:\nrecipients:")),
        ("[ops, web1]", format!("[{PRIVATE}]")),
        ("[ops, web1]", PRIVATE.to_owned()),
        ("required: true", format!("required: {PRIVATE}")),
        ("dev/x-y", PRIVATE.to_owned()),
    ];
    for (old, new) in places {
        let message = error_after(old, &new);
        assert!(message.contains("a private identity stands here"), "{message}");
        assert!(!message.to_lowercase().contains("canary"), "{message}");
    }
    let mention = full().replace("version: 1", "version: 1 # never an AGE-SECRET-KEY-1…");
    Policy::parse(&mention).unwrap();
}

#[test]
fn wrong_types_don_t_repeat_what_stands_there() {
    for (old, new) in [("[ops, web1]", "canary"), ("required: true", "required: canary")] {
        assert!(!error_after(old, new).contains("canary"));
    }
}

#[test]
fn texts_that_are_no_mapping_are_refused() {
    let error = |text: &str| Policy::parse(text).unwrap_err().to_string();
    assert_eq!(error(""), "the policy is empty");
    assert_eq!(error("# nothing\n"), "the policy is empty");
    assert_eq!(error("- a\n"), "line 1, column 1: `the policy` must be a mapping, not a list");
    assert_eq!(error("text"), "line 1, column 1: `the policy` must be a mapping, not text");
    let large = "#".repeat(Policy::MAX_BYTES + 1);
    assert_eq!(error(&large), "the policy has 1048577 bytes; at most 1048576 are allowed");
    assert_eq!(Policy::parse(&large).unwrap_err().position(), None);
}

#[test]
fn hostile_nesting_is_refused_before_it_costs_anything() {
    for bracket in ["[", "{", "- ", "? ", "[{", "{a: "] {
        assert!(Policy::parse(&bracket.repeat(100_000)).is_err(), "{bracket}");
    }
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    let error = Policy::parse(laughs).unwrap_err();
    assert_eq!(error.problem(), &PolicyProblem::Alias);
}

#[test]
fn a_new_policy_says_what_it_was_asked_to() {
    let recipients =
        [("alice".to_owned(), ALICE.parse().unwrap()), ("web1".to_owned(), WEB.parse().unwrap())];
    let id = VaultId::random();
    let plain = Policy::parse(&Policy::template(id, &recipients, &[])).unwrap();
    assert_eq!(plain.vault_id(), id);
    assert_eq!(plain.groups()[0].name, Policy::FIRST_GROUP);
    assert_eq!(recipients_on(&plain, "any/THING", "2026-01-01"), ["alice", "web1"]);

    let environments = ["dev".to_owned(), "prod".to_owned()];
    let text = Policy::template(id, &recipients, &environments);
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.rule_for(&name("prod/A")).unwrap().to, ["prod"]);
    assert_eq!(policy.rule_for(&name("dev/a/B")).unwrap().to, ["dev"]);
    assert!(policy.rule_for(&name("A")).is_none());
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
}

#[test]
fn the_example_in_a_new_policy_is_a_valid_one() {
    let recipients = [("alice".to_owned(), ALICE.parse().unwrap())];
    let text = Policy::template(VaultId::random(), &recipients, &[]);
    let (head, example) = text.split_once("# secrets:").unwrap();
    let example = example.replace("\n# ", "\n");
    let policy = Policy::parse(&format!("{head}secrets:{example}")).unwrap();
    assert_eq!(policy.expected().next(), Some((name("web/COOKIE_SECRET"), true)));
}
#[test]
fn more_rules_or_patterns_than_can_be_matched_in_time_are_refused() {
    let error = |section: &str, line: fn(usize) -> String, count: usize| {
        let (before, after) = FULL.split_once(section).unwrap();
        let lines: String = (0..count).map(line).collect();
        let text = format!("{before}{section}{lines}{after}");
        let text = text.replace("ALICE", ALICE).replace("BOB", BOB).replace("WEB web1", WEB);
        Policy::parse(&text).err().map(|e| e.to_string())
    };
    let rule = |i| format!("  - {{path: a{i}, to: [alice]}}\n");
    assert_eq!(error("rules:\n", rule, 998), None);
    let refusal = error("rules:\n", rule, 999).unwrap();
    assert_eq!(refusal, "line 1013, column 5: a policy has at most 1000 rules");
    assert_eq!(error("secrets:\n", |i| format!("  a{i}: {{}}\n"), 2000), None);
    let refusal = error("secrets:\n", |i| format!("  a*{i}: {{}}\n"), 1001).unwrap();
    assert_eq!(refusal, "line 1019, column 3: a policy has at most 1000 patterns in `secrets`");
}
