use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Different recipients, made once.
static RECIPIENTS: LazyLock<Vec<Recipient>> = LazyLock::new(|| {
    let make = || age::x25519::Identity::generate().to_public().to_string().parse().unwrap();
    (0..12).map(|_| make()).collect()
});

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

/// A policy with recipients R0, R1 … in the place of these words.
fn text(template: &str) -> String {
    let head = "version: 1\nvault: 4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11\n";
    (0..RECIPIENTS.len()).rev().fold(format!("{head}{template}"), |text, index| {
        text.replace(&format!("R{index}"), RECIPIENTS[index].as_str())
    })
}

#[track_caller]
fn edits(edit: &PolicyEdit, before: &str, after: &str) {
    let edited = edit.apply(&text(before)).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(edited, text(after), "\n--- got\n{edited}");
}

fn add(index: usize, name: &str) -> PolicyEdit {
    PolicyEdit::AddRecipient { name: name.to_owned(), recipient: RECIPIENTS[index].clone() }
}

fn remove(name: &str) -> PolicyEdit {
    PolicyEdit::RemoveRecipient { name: name.to_owned() }
}

const BLOCK: &str = "\
# who
recipients:
    # the boss
    alice: R0   # since 2020
    'bob': \"R1\"
    # between
    carol: >-
      R2   

# groups
groups:
  ops:
  - alice   # lead
  - bob     # since May
  # tail of ops
  all: [ops, 'carol']
rules:
  - path: \"**\"
    to:
      - ops
      # and
      - \"bob\"
leaving:
  - recipient: bob   # who
    until: 2026-12-01
# the end
";

#[test]
fn a_recipient_is_added_in_the_style_of_the_others() {
    edits(&add(3, "dave"), BLOCK, &BLOCK.replace("      R2   \n", "      R2   \n    dave: R3\n"));
    let flow = "recipients: {alice: R0}\nrules: []\n";
    edits(&add(3, "true"), flow, &flow.replace("R0}", "R0, \"true\": R3}"));
    let lines = "recipients: {\n  alice: R0, # a\n} # b\nrules: []\n";
    edits(&add(3, "dave"), lines, &lines.replace("R0, #", "R0, dave: R3, #"));
    let none = "recipients:   # nobody yet\nrules: []";
    edits(&add(3, "d"), none, "recipients:   # nobody yet\n  d: R3\nrules: []");
    let none = "recipients: {}\nrules: []\n";
    edits(&add(3, "d"), none, "recipients: {d: R3}\nrules: []\n");
    let last = "rules: []\nrecipients:\n  a: R0";
    edits(&add(3, "d"), last, "rules: []\nrecipients:\n  a: R0\n  d: R3\n");
}

#[test]
fn a_removed_recipient_is_gone_everywhere_and_comments_stay() {
    let after = "\
# who
recipients:
    # the boss
    alice: R0   # since 2020
    # between
    carol: >-
      R2   

# groups
groups:
  ops:
  - alice   # lead
  # tail of ops
  all: [ops, 'carol']
rules:
  - path: \"**\"
    to:
      - ops
      # and
leaving:
# the end
";
    edits(&remove("bob"), BLOCK, after);
    edits(
        &remove("carol"),
        BLOCK,
        &BLOCK.replace("    carol: >-\n      R2   \n", "").replace(", 'carol'", ""),
    );
}

#[test]
fn a_renamed_recipient_keeps_its_quotes_everywhere() {
    let rename = PolicyEdit::RenameRecipient { from: "bob".into(), to: "rob".into() };
    let after = BLOCK.replace("bob", "rob");
    edits(&rename, BLOCK, &after);
    let digits = PolicyEdit::RenameRecipient { from: "alice".into(), to: "42".into() };
    edits(&digits, BLOCK, &BLOCK.replace("alice", "\"42\""));
}

#[test]
fn members_are_cut_out_of_brackets_neatly() {
    let policy = |list: &str| {
        format!("recipients: {{a: R0, b: R1, c: R2}}\ngroups:\n  g: {list}\nrules: []\n")
    };
    let cases = [
        ("a", "[a, b, c]", "[b, c]"),
        ("b", "[a, b, c]", "[a, c]"),
        ("c", "[a, b, c]", "[a, b]"),
        ("c", "[a, b, c,]", "[a, b,]"),
        ("a", "[a, b, c,]", "[b, c,]"),
        ("a", "[a,]", "[]"),
        ("c", "[\n    a,\n    b,\n    c, # 3\n    ]", "[\n    a,\n    b,\n    ]"),
        ("a", "[ a ]", "[  ]"),
        ("b", "[a , b]", "[a ]"),
        ("b", "[\n    a, # 1\n    b, # 2\n    c  # 3\n    ]", "[\n    a, # 1\n    c  # 3\n    ]"),
        (
            "c",
            "[\n    a, # 1\n    # own\n    b, # 2\n    c  # 3\n    ]",
            "[\n    a, # 1\n    # own\n    b # 2\n    ]",
        ),
        ("b", "[a,\n    # own\n    b]", "[a\n    # own\n    ]"),
    ];
    for (member, before, after) in cases {
        let edit = PolicyEdit::RemoveFromGroup { group: "g".into(), member: member.into() };
        edits(&edit, &policy(before), &policy(after));
    }
}

#[test]
fn members_are_added_in_the_style_of_the_list() {
    let policy =
        |list: &str| format!("recipients: {{a: R0, b: R1}}\ngroups:\n  g:{list}\nrules: []\n");
    let cases = [
        (" [a]", " [a, b]"),
        (" []", " [b]"),
        (" [ # none\n    ]", " [b # none\n    ]"),
        ("\n  - a # 1\n  # 2", "\n  - a # 1\n  - b\n  # 2"),
        ("\n      -   a", "\n      -   a\n      - b"),
        (" [\n    a, # 1\n    ]", " [\n    a, b, # 1\n    ]"),
        (" # none", " # none\n    - b"),
    ];
    for (before, after) in cases {
        let edit = PolicyEdit::AddToGroup { group: "g".into(), member: "b".into() };
        edits(&edit, &policy(before), &policy(after));
    }
}

#[test]
fn a_missing_section_is_made_at_the_end() {
    let edit = PolicyEdit::AddGroup { name: "g".into(), members: vec!["a".into()] };
    let before = "recipients: {a: R0}\nrules: []\n# the end\n";
    edits(&edit, before, &format!("{before}groups:\n  g: [a]\n"));
    edits(
        &edit,
        &format!("{before}..."),
        "recipients: {a: R0}\nrules: []\ngroups:\n  g: [a]\n# the end\n...",
    );
    edits(&edit, before.trim_end(), &format!("{before}groups:\n  g: [a]\n"));
    let leaving =
        PolicyEdit::SetLeaving { recipient: "a".into(), until: "2026-12-01".parse().unwrap() };
    let item = "leaving:\n  - {recipient: a, until: 2026-12-01}\n";
    edits(&leaving, before, &format!("{before}{item}"));
    let later =
        PolicyEdit::SetLeaving { recipient: "a".into(), until: "2027-01-31".parse().unwrap() };
    edits(&later, item_with(item).as_str(), &item_with(&item.replace("2026-12-01", "2027-01-31")));
    let stays = PolicyEdit::ClearLeaving { recipient: "a".into() };
    edits(&stays, item_with(item).as_str(), &item_with("leaving:\n"));
}

fn item_with(section: &str) -> String {
    format!("recipients: {{a: R0}}\nrules: []\n{section}")
}

#[test]
fn removed_secrets_are_recorded_and_forgotten() {
    let set = |number: u64| PolicyEdit::SetRemoved {
        name: name("prod/A"),
        generation: Generation::try_from(number).unwrap(),
    };
    let clear = PolicyEdit::ClearRemoved { name: name("prod/A") };
    let none = "recipients: {}\nrules: []\n";
    let one = format!("{none}removed:\n  prod/A: 3\n");
    edits(&set(3), none, &one);
    edits(&set(4), &one.replace(": 3", ": 3 # why"), &one.replace(": 3", ": 4 # why"));
    edits(&clear, &one, &format!("{none}removed:\n"));
    edits(&clear, none, none);
    let flow = format!("{none}removed: {{B: 1}}\n");
    edits(&set(3), &flow, &flow.replace("B: 1", "B: 1, prod/A: 3"));
}

#[test]
fn settings_move_with_their_secret_and_go_with_it() {
    let before = "recipients: {}\nrules: []\nsecrets:\n  # before\n  \"prod/A\": # this\n    # inside\n    required: true\n  # after\n  B: {}\n";
    let rename = PolicyEdit::RenameSecret { from: name("prod/A"), to: name("dev/A") };
    edits(&rename, before, &before.replace("prod/A", "dev/A"));
    let clash = PolicyEdit::RenameSecret { from: name("prod/A"), to: name("B") };
    assert!(matches!(clash.apply(&text(before)), Err(PolicyEditError::Exists(_))));
    let remove = PolicyEdit::RemoveSecret { name: name("prod/A") };
    edits(&remove, before, "recipients: {}\nrules: []\nsecrets:\n  # before\n  # after\n  B: {}\n");
    let other = PolicyEdit::RemoveSecret { name: name("other") };
    edits(&other, before, before);
}

#[test]
fn windows_line_ends_stay() {
    let windows = |text: &str| text.replace('\n', "\r\n");
    edits(
        &add(3, "dave"),
        &windows(BLOCK),
        &windows(&BLOCK.replace("      R2   \n", "      R2   \n    dave: R3\n")),
    );
}

#[test]
fn what_would_break_the_policy_is_refused() {
    let simple = text(
        "recipients:\n  a: R0\n  b: R1\ngroups: {g: [a]}\nrules:\n  - {path: \"**\", to: [g]}\n",
    );
    let refused = |edit: PolicyEdit| edit.apply(&simple).unwrap_err();
    let error = refused(remove("a"));
    let PolicyEditError::Invalid { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("reaches no recipient"), "{source}");
    assert!(matches!(refused(remove("x")), PolicyEditError::Unknown(_)));
    assert!(matches!(refused(add(3, "g")), PolicyEditError::Exists(_)));
    assert!(matches!(refused(add(0, "c")), PolicyEditError::Invalid { .. }));
    assert!(matches!(refused(add(3, "a: x\nb")), PolicyEditError::MemberName(_)));
    let cycle = PolicyEdit::AddToGroup { group: "g".into(), member: "g".into() };
    assert!(matches!(refused(cycle), PolicyEditError::Invalid { .. }));
    let again = PolicyEdit::AddToGroup { group: "g".into(), member: "a".into() };
    assert!(matches!(refused(again), PolicyEditError::Exists(_)));
    assert!(matches!(add(3, "c").apply("version: 2"), Err(PolicyEditError::Unreadable(_))));
}

#[test]
fn an_edit_that_would_mean_something_else_is_not_made() {
    let simple = text("recipients: {a: R0, b: R1}\ngroups: {g: [a]}\nrules: []\n");
    let smuggled = PolicyEdit::AddGroup { name: "h".into(), members: vec!["a], i: [b".into()] };
    assert!(matches!(smuggled.apply(&simple), Err(PolicyEditError::ByHand { .. })));
}

#[test]
fn what_can_t_be_placed_is_left_to_a_person() {
    let odd = text("recipients:\n  ? a\n  : R0\nrules: []\n");
    let error = remove("a").apply(&odd).unwrap_err();
    assert!(matches!(error, PolicyEditError::ByHand { .. }), "{error:?}");
    assert!(error.to_string().contains("by hand: remove a from"), "{error}");
}

/// Writes a random policy: any mix of styles, comments wherever YAML allows them.
struct Writer<'t> {
    choices: &'t [u8],
    text: String,
    comments: usize,
}

impl Writer<'_> {
    /// A choice between 0 and `count` - 1; always 0 once the choices run out.
    fn choose(&mut self, count: usize) -> usize {
        let Some((&first, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        usize::from(first) % count
    }

    /// A line, with its indentation, perhaps after blank lines and comments and before a comment.
    fn line(&mut self, line: &str, inside: &str) {
        for _ in 0..self.choose(3) {
            let indent = self.choose(7);
            let number = self.comments;
            let _ = match self.choose(3) {
                0 => writeln!(self.text),
                _ => writeln!(self.text, "{:indent$}# {number}. {inside}: [{{'\"", ""),
            };
            self.comments += 1;
        }
        self.text.push_str(line);
        let behind = ["", " ", "  # behind, it's [", "\t# \"{"];
        let behind = behind[self.choose(behind.len())];
        self.text.push_str(behind);
        self.text.push('\n');
    }

    fn quoted(&mut self, text: &str) -> String {
        match self.choose(3) {
            0 => editor::plain(text),
            1 => format!("'{text}'"),
            _ => format!("\"{text}\""),
        }
    }

    /// `before: [items]` in one of four styles.
    fn list(&mut self, before: &str, indent: usize, items: &[String]) {
        let items: Vec<_> = items.iter().map(|item| self.quoted(item)).collect();
        match (self.choose(4), items.is_empty()) {
            (0, true) => self.line(&format!("{before}:"), ""),
            (0 | 1, false) => {
                self.line(&format!("{before}:"), "");
                let indent = indent + self.choose(3);
                for item in items {
                    self.line(&format!("{:indent$}- {item}", ""), "");
                }
            }
            (2, false) => {
                self.line(&format!("{before}: ["), "");
                let indent = indent + 2;
                let trailing = self.choose(2) == 0;
                for (index, item) in items.iter().enumerate() {
                    let comma = if trailing || index + 1 < items.len() { "," } else { "" };
                    self.line(&format!("{:indent$}{item}{comma}", ""), "");
                }
                self.line(&format!("{:indent$}]", ""), "");
            }
            _ => {
                let separator = [", ", ",", " , "][self.choose(3)];
                self.line(&format!("{before}: [{}]", items.join(separator)), "");
            }
        }
    }

    /// `name: content` for each entry, in one of two styles.
    fn mapping(&mut self, section: &str, entries: &[(String, String)]) {
        if entries.is_empty() && self.choose(2) == 0 {
            return;
        }
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, content)| format!("{}: {content}", self.quoted(name)))
            .collect();
        if self.choose(3) == 0 {
            self.line(&format!("{section}: {{{}}}", entries.join(", ")), "");
            return;
        }
        self.line(&format!("{section}:"), "");
        let indent = 1 + self.choose(4);
        for entry in entries {
            self.line(&format!("{:indent$}{entry}", ""), "");
        }
    }

    fn policy(&mut self) {
        self.line("version: 1", "");
        self.line("vault: 4f0c0e0e-2d5c-4a5e-9d53-0a4b8d1c7f11", "");
        let count = 2 + self.choose(4);
        let recipients: Vec<_> = (0..count).map(|i| format!("r{i}")).collect();
        let entries: Vec<_> =
            recipients.iter().zip(&*RECIPIENTS).map(|(n, r)| (n.clone(), r.to_string())).collect();
        self.mapping("recipients", &entries);
        let groups = self.choose(4);
        if groups > 0 || self.choose(2) == 0 {
            self.line("groups:", "");
        }
        for index in 0..groups {
            let mut members = self.some_of(&recipients);
            members.extend((0..index).filter(|_| self.choose(3) == 0).map(|i| format!("g{i}")));
            self.list(&format!("  g{index}"), 2, &members);
        }
        self.line("rules:", "");
        for pattern in ["prod/**", "**"] {
            let indent = 2;
            self.line(&format!("{:indent$}- path: '{pattern}'", ""), "");
            let mut to = self.some_of(&recipients);
            if to.is_empty() {
                to.push("r1".to_owned());
            }
            to.extend((0..groups).filter(|_| self.choose(2) == 0).map(|i| format!("g{i}")));
            self.list("    to", 4, &to);
        }
        let leaving = self.some_of(&recipients);
        let block = self.choose(2) == 0;
        if !leaving.is_empty() {
            self.line("leaving:", "");
        }
        for name in leaving {
            let name = self.quoted(&name);
            if block {
                self.line(&format!("  - recipient: {name}\n    until: 2026-12-01"), "");
            } else {
                self.line(&format!("- {{until: '2026-12-01', recipient: {name}}}"), "");
            }
        }
        let secrets = self.some_of(&["A", "prod/B", "prod/C"].map(str::to_owned));
        if !secrets.is_empty() {
            self.line("secrets:", "");
        }
        for secret in secrets {
            let quoted = self.quoted(&secret);
            self.line(&format!("  {quoted}:"), "");
            for setting in
                ["required: true", "description: |\n      # text\n      more", "bytes: 3"]
            {
                self.line(&format!("    {setting}"), &secret);
            }
        }
        let removed = self.some_of(&["X", "prod/Y"].map(str::to_owned));
        let removed: Vec<_> = removed.into_iter().map(|name| (name, "7".to_owned())).collect();
        self.mapping("removed", &removed);
        self.line("# end", "");
    }

    fn some_of(&mut self, all: &[String]) -> Vec<String> {
        all.iter().filter(|_| self.choose(2) == 0).cloned().collect()
    }
}

fn any_edit() -> impl Strategy<Value = PolicyEdit> {
    let recipient = || select(vec!["r0", "r1", "r2", "r3"]).prop_map(str::to_owned);
    let group = || select(vec!["g0", "g1", "g2"]).prop_map(str::to_owned);
    let member = || prop_oneof![recipient(), group()];
    let secret = || select(vec!["A", "prod/B", "prod/C", "X", "prod/Y"]).prop_map(name);
    let until = jiff::civil::date(2027, 1, 31);
    prop_oneof![
        Just(add(11, "new")),
        recipient().prop_map(|name| PolicyEdit::RemoveRecipient { name }),
        recipient().prop_map(|from| PolicyEdit::RenameRecipient { from, to: "no".to_owned() }),
        prop::collection::vec(recipient(), 0..2)
            .prop_map(|members| PolicyEdit::AddGroup { name: "new".to_owned(), members }),
        (group(), member()).prop_map(|(group, member)| PolicyEdit::AddToGroup { group, member }),
        (group(), member())
            .prop_map(|(group, member)| PolicyEdit::RemoveFromGroup { group, member }),
        secret().prop_map(|name| PolicyEdit::SetRemoved { name, generation: Generation::FIRST }),
        secret().prop_map(|name| PolicyEdit::ClearRemoved { name }),
        secret().prop_map(|from| PolicyEdit::RenameSecret { from, to: name("new/NAME") }),
        secret().prop_map(|name| PolicyEdit::RemoveSecret { name }),
        recipient().prop_map(move |recipient| PolicyEdit::SetLeaving { recipient, until }),
        recipient().prop_map(|recipient| PolicyEdit::ClearLeaving { recipient }),
    ]
}

/// The lines that are comments as a whole; those inside a removed secret's settings go with it.
fn kept_comments<'t>(text: &'t str, edit: &PolicyEdit) -> Vec<&'t str> {
    let gone = match edit {
        PolicyEdit::RemoveSecret { name } => format!(". {name}: "),
        _ => "none".to_owned(),
    };
    let comments = text.lines().filter(|line| line.trim_start().starts_with('#'));
    comments.filter(|line| !line.contains(&gone) && !line.ends_with("# text")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn edits_do_what_they_say_and_keep_every_comment_line(
        choices in prop::collection::vec(any::<u8>(), 0..400),
        edit in any_edit(),
        windows in any::<Index>(),
    ) {
        let mut writer = Writer { choices: &choices, text: String::new(), comments: 0 };
        writer.policy();
        let mut text = writer.text;
        if windows.index(4) == 0 {
            text = text.replace('\n', "\r\n");
        }
        let before = Policy::parse(&text)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        match edit.apply(&text) {
            Ok(edited) => {
                let after = Policy::parse(&edited).unwrap();
                prop_assert_eq!(after, edit.intend(before).unwrap());
                prop_assert_eq!(kept_comments(&edited, &edit), kept_comments(&text, &edit));
                let bare = edited.replace("\r\n", "");
                prop_assert!(!text.contains('\r') || !bare.contains('\n'), "mixed line ends");
            }
            Err(PolicyEditError::Unknown(_) | PolicyEditError::Exists(_)) => {}
            Err(PolicyEditError::Invalid { source, .. }) => {
                let expected = matches!(
                    source.problem(),
                    crate::PolicyProblem::NoRecipients { .. }
                        | crate::PolicyProblem::GroupCycle { .. }
                        | crate::PolicyProblem::UnknownMember { .. }
                );
                prop_assert!(expected, "{edit}: {source}\n{text}");
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{text}"))),
        }
    }
}
