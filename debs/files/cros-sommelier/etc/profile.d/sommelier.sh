# Sourced by login shells: where the displays of sommelier are, as the user manager knows.
_sommelier_environment=$(systemctl --user show-environment 2>/dev/null)
case $_sommelier_environment in
    *SOMMELIER_VERSION=*)
        for _sommelier_name in DISPLAY XCURSOR_SIZE WAYLAND_DISPLAY \
            DISPLAY_LOW_DENSITY XCURSOR_SIZE_LOW_DENSITY WAYLAND_DISPLAY_LOW_DENSITY; do
            _sommelier_value=$(printf '%s\n' "$_sommelier_environment" | sed -n "s/^$_sommelier_name=//p")
            [ -z "$_sommelier_value" ] || export "$_sommelier_name=$_sommelier_value"
        done
        ;;
esac
unset _sommelier_environment _sommelier_name _sommelier_value
