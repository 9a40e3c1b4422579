//! `freeboard top`: ranges, nodes and waiting pods at a terminal, looked at again and again. It only looks.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use freeboard_capacity::{RangeKind, RangeStatus, Use};
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use crate::input::{Output, Sources};
use crate::layout::grouped;
use crate::live::Live;
use crate::status::{Status, notes};
use crate::tree::bar;

/// How long a key may take to be noticed.
const LOOK_FOR_KEYS: Duration = Duration::from_millis(200);

/// Where to look.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Keys: Tab, 1, 2, 3 for ranges, nodes and waiting pods; arrows and Page up/down to move; r to look at once; q ends."
)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    live: Live,
    /// Look again every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// What is shown of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tab {
    #[default]
    Ranges,
    Nodes,
    Waiting,
}

impl Tab {
    const ALL: [Self; 3] = [Self::Ranges, Self::Nodes, Self::Waiting];

    fn title(self, status: &Status) -> String {
        let count = |number: usize| grouped(u64::try_from(number).unwrap_or(u64::MAX));
        match self {
            Self::Ranges => format!("1 ranges ({})", count(status.ranges.iter().flat_map(RangeStatus::flat).count())),
            Self::Nodes => format!("2 nodes ({})", count(status.nodes.len())),
            Self::Waiting => format!("3 waiting pods ({})", count(status.waiting.len())),
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Ranges => Self::Nodes,
            Self::Nodes => Self::Waiting,
            Self::Waiting => Self::Ranges,
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// Which cell of a row it shows.
    cell: usize,
    name: &'static str,
    width: Constraint,
    /// The narrowest terminal on which it is shown.
    from_width: u16,
}

impl Column {
    const fn new(cell: usize, name: &'static str, width: Constraint, from_width: u16) -> Self {
        Self { cell, name, width, from_width }
    }
}

/// What the terminal shows.
#[derive(Debug, Default)]
struct Screen {
    status: Option<Status>,
    seen: Option<Timestamp>,
    problem: Option<String>,
    tab: Tab,
    /// Rows above the first one shown.
    above: usize,
    is_plain: bool,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    Look,
    End,
}

/// Runs the command until it is ended by a key.
pub(crate) fn run(arguments: &TopArguments) -> Result<ExitCode> {
    if !std::io::stdout().is_terminal() {
        bail!("top draws on a terminal; for a file or a pipe there is: freeboard status --watch");
    }
    // What cannot be read at all is told before the screen is taken.
    let first = look(arguments)?;
    let (say, said) = channel();
    let (ask, asked) = channel();
    let looking = arguments.clone();
    // It ends with the program.
    std::thread::spawn(move || keep_looking(&looking, &say, &asked));
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut screen = Screen { is_plain, ..Screen::default() };
    screen.take(Ok(first));
    let mut terminal = ratatui::try_init()?;
    let outcome = watch(&mut terminal, &mut screen, &said, &ask);
    ratatui::try_restore()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    screen: &mut Screen,
    said: &Receiver<Result<Status, String>>,
    ask: &Sender<()>,
) -> Result<()> {
    loop {
        while let Ok(told) = said.try_recv() {
            screen.take(told);
        }
        terminal.draw(|frame| screen.draw(frame))?;
        if !event::poll(LOOK_FOR_KEYS)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        match screen.press(key) {
            Wish::Nothing => {}
            // Nobody listens when the looking has ended; then the screen says why.
            Wish::Look => drop(ask.send(())),
            Wish::End => return Ok(()),
        }
    }
}

fn look(arguments: &TopArguments) -> Result<Status> {
    let input = arguments.live.or_read(&arguments.sources, "top", Output::Json)?;
    Ok(crate::status::of(&input))
}

fn keep_looking(arguments: &TopArguments, say: &Sender<Result<Status, String>>, asked: &Receiver<()>) {
    loop {
        if asked.recv_timeout(Duration::from_secs(arguments.every)) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        if say.send(look(arguments).map_err(|error| format!("{error:#}"))).is_err() {
            return;
        }
    }
}

impl Screen {
    /// Takes what a look saw; what was seen before stays when it saw nothing.
    fn take(&mut self, told: Result<Status, String>) {
        match told {
            Ok(status) => {
                self.status = Some(status);
                self.seen = Some(Timestamp::now());
                self.problem = None;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other key, also of keyboards to come, asks for nothing")]
    fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        let tab = match key.code {
            KeyCode::Char('c') if is_control => return Wish::End,
            KeyCode::Char('q') | KeyCode::Esc => return Wish::End,
            KeyCode::Char('r') => return Wish::Look,
            KeyCode::Char('1') => Some(Tab::Ranges),
            KeyCode::Char('2') => Some(Tab::Nodes),
            KeyCode::Char('3') => Some(Tab::Waiting),
            KeyCode::Tab => Some(self.tab.next()),
            _ => None,
        };
        let rows = self.rows().len();
        self.above = match key.code {
            _ if tab.is_some() => 0,
            KeyCode::Up | KeyCode::Char('k') => self.above.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.above + 1,
            KeyCode::PageUp => self.above.saturating_sub(10),
            KeyCode::PageDown => self.above + 10,
            KeyCode::Home => 0,
            KeyCode::End => rows,
            _ => self.above,
        }
        .min(rows.saturating_sub(1));
        self.tab = tab.unwrap_or(self.tab);
        Wish::Nothing
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, tabs, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        frame.render_widget(Paragraph::new(self.tabs()), tabs);
        frame.render_widget(self.table(body.width), body);
        let foot_text = match &self.problem {
            Some(problem) => Line::styled(format!("✗ {problem}"), self.colour(Color::Red)),
            None => Line::from("q ends · Tab, 1, 2, 3 · ↑ ↓ · r looks now"),
        };
        frame.render_widget(Paragraph::new(foot_text), foot);
    }

    fn colour(&self, colour: Color) -> Style {
        if self.is_plain { Style::new() } else { Style::new().fg(colour) }
    }

    fn head(&self) -> String {
        let cluster = self.status.as_ref().and_then(|status| status.cluster.as_deref()).unwrap_or("the cluster");
        let seen = self.seen.map_or_else(String::new, |seen| seen.strftime(" · as of %H:%M:%S UTC").to_string());
        format!("freeboard top · {cluster}{seen}")
    }

    fn tabs(&self) -> Line<'static> {
        let Some(status) = &self.status else { return Line::default() };
        let titles = Tab::ALL.map(|tab| {
            let title = tab.title(status);
            if tab == self.tab { format!("[{title}]") } else { format!(" {title} ") }
        });
        Line::from(titles.join(" "))
    }

    fn table(&self, width: u16) -> Table<'static> {
        let columns: Vec<Column> = self.columns().iter().copied().filter(|column| width >= column.from_width).collect();
        let rows = self.rows().into_iter().skip(self.above).map(|(cells, is_bad)| {
            let style = if is_bad { self.colour(Color::Red) } else { Style::new() };
            let shown = columns.iter().filter_map(|column| cells.get(column.cell).cloned());
            Row::new(shown.map(Cell::from)).style(style)
        });
        let names = columns.iter().map(|column| column.name);
        Table::new(rows, columns.iter().map(|column| column.width)).header(Row::new(names))
    }

    fn columns(&self) -> &'static [Column] {
        match self.tab {
            Tab::Ranges => {
                const {
                    &[
                        Column::new(0, "RANGE", Constraint::Fill(3), 0),
                        Column::new(1, "CIDR", Constraint::Length(18), 60),
                        Column::new(2, "USE", Constraint::Length(9), 0),
                        Column::new(3, "", Constraint::Length(8), 100),
                        Column::new(4, "FREE", Constraint::Length(7), 0),
                        Column::new(5, "NOTES", Constraint::Fill(4), 60),
                    ]
                }
            }
            Tab::Nodes => {
                const {
                    &[
                        Column::new(0, "NODE", Constraint::Fill(1), 0),
                        Column::new(1, "TYPE", Constraint::Length(14), 60),
                        Column::new(2, "PODS", Constraint::Length(9), 0),
                        Column::new(3, "WARM", Constraint::Length(6), 60),
                        Column::new(4, "COOLING", Constraint::Length(7), 60),
                    ]
                }
            }
            Tab::Waiting => {
                const {
                    &[
                        Column::new(0, "POD", Constraint::Fill(2), 0),
                        Column::new(1, "NODE", Constraint::Fill(2), 100),
                        Column::new(2, "WHY", Constraint::Fill(3), 0),
                    ]
                }
            }
        }
    }

    /// The rows of the tab, each with whether something is wrong in it.
    fn rows(&self) -> Vec<(Vec<String>, bool)> {
        let Some(status) = &self.status else { return Vec::new() };
        match self.tab {
            Tab::Ranges => {
                let mut rows = Vec::new();
                status.ranges.iter().for_each(|range| range_rows(&mut rows, range, 0));
                rows
            }
            Tab::Nodes => status.nodes.iter().map(node_row).collect(),
            Tab::Waiting => {
                let row = |one: &crate::status::WaitingPod| {
                    let node = one.node.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string);
                    let why = match (one.finding, &one.place) {
                        (Some(finding), Some(place)) => format!("{finding} {place}"),
                        (Some(finding), None) => finding.to_owned(),
                        (None, _) => "not known".to_owned(),
                    };
                    (vec![one.pod.to_string(), node, why], true)
                };
                status.waiting.iter().map(row).collect()
            }
        }
    }
}

fn range_rows(rows: &mut Vec<(Vec<String>, bool)>, range: &RangeStatus, depth: usize) {
    let said = notes(range);
    let is_pool = range.kind == RangeKind::NodePool;
    let or_nothing = |text: String| if is_pool { String::new() } else { text };
    let free = range.free_addresses.map_or_else(|| "?".to_owned(), grouped);
    rows.push((
        vec![
            format!("{}{}", "  ".repeat(depth), range.name.as_deref().unwrap_or(&range.id)),
            or_nothing(range.cidr.to_string()),
            range.usage.map_or_else(|| "?".to_owned(), |usage| usage.to_string()),
            range.usage.map(bar).unwrap_or_default(),
            or_nothing(free),
            said.clone(),
        ],
        said.starts_with('✗'),
    ));
    range.inside.iter().for_each(|inside| range_rows(rows, inside, depth + 1));
}

fn node_row(node: &crate::status::NodeStatus) -> (Vec<String>, bool) {
    let allowed = node.pods_allowed.map_or_else(String::new, |allowed| format!("/{allowed}"));
    let of = |used_for: Use| node.addresses.get(&used_for).map_or_else(|| "–".to_owned(), |count| grouped(*count));
    let is_bad = node.ready == Some(false);
    let sign = if is_bad { "✗ not ready: " } else { "" };
    (
        vec![
            format!("{sign}{}", node.name),
            node.instance_type.clone().unwrap_or_else(|| "?".to_owned()),
            format!("{}{allowed}", node.pods),
            of(Use::Warm),
            of(Use::Cooling),
        ],
        is_bad,
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen() -> Screen {
        let dump = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dumps/eks");
        let input = Sources::of_paths(&[dump]).read("top", Output::Json).unwrap();
        let mut screen = Screen::default();
        screen.take(Ok(crate::status::of(&input)));
        screen
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Wish {
        screen.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_lead_through_ranges_nodes_and_waiting_pods() {
        let mut screen = screen();
        let text = drawn(&screen, 120, 20);
        assert!(text.contains("[1 ranges") && text.contains("100.00 %") && text.contains("✗"), "{text}");
        assert_eq!(press(&mut screen, KeyCode::Tab), Wish::Nothing);
        assert!(drawn(&screen, 120, 20).contains("NODE"));
        press(&mut screen, KeyCode::Char('3'));
        let text = drawn(&screen, 120, 20);
        assert!(text.contains("shop/web-wait-0") && text.contains("SubnetExhausted"), "{text}");
        let before = screen.rows().len();
        press(&mut screen, KeyCode::End);
        assert_eq!(screen.above, before - 1);
        press(&mut screen, KeyCode::Down);
        assert_eq!(screen.above, before - 1, "there is nothing below the last row");
        assert_eq!(press(&mut screen, KeyCode::Char('r')), Wish::Look);
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Wish::End);
        assert_eq!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::End);
    }

    #[test]
    fn a_failed_look_is_told_and_leaves_what_was_seen() {
        let mut screen = screen();
        screen.take(Err("the API server cannot be asked".to_owned()));
        let text = drawn(&screen, 80, 12);
        assert!(text.contains("✗ the API server cannot be asked") && text.contains("RANGE"), "{text}");
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        let text = drawn(&screen(), 40, 6);
        assert!(text.contains("freeboard top") && text.contains("RANGE") && text.contains("100.00 %"), "{text}");
        assert!(drawn(&Screen::default(), 10, 2).contains("freeboard"));
    }
}
