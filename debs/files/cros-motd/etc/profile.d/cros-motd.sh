# Show the message of the day in the first few terminals. Sourced by login shells, so it leaves nothing behind in them.
# Silence it for good with: touch ~/.local/share/cros-motd.disable
(
    message=/usr/share/cros-motd/motd
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    seen=$data/cros-motd
    times=5

    # Only in a terminal of the guest: not for scripts, not over SSH.
    [ -t 1 ] && [ -z "${SSH_TTY:-}" ] && [ -r "$message" ] || exit 0
    [ ! -e "$HOME/.local/share/cros-motd.disable" ] && [ ! -e "$data/cros-motd.disable" ] || exit 0

    # A new message starts again from nothing: the count is kept together with the message's sum.
    sum=$(cksum <"$message") && sum=${sum%% *}
    shown=0
    if [ -r "$seen" ] && read -r known count <"$seen" && [ "$known" = "$sum" ]; then
        case $count in
            '' | *[!0-9]*) ;;
            *) shown=$count ;;
        esac
    fi
    [ "$shown" -lt "$times" ] || exit 0

    shown=$((shown + 1))
    mkdir -p "$data" 2>/dev/null && echo "$sum $shown" 2>/dev/null >"$seen" || exit 0
    cat "$message"
    if [ "$shown" -eq "$times" ]; then
        echo "(This message is not shown again.)"
    else
        echo "(Shown $((times - shown)) more times; silence it with: touch ~/.local/share/cros-motd.disable)"
    fi
)
