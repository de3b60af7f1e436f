[Match]
Name=eth0

[Network]
{% if config_get("user.network_mode", "") == "link-local" %}LinkLocalAddressing=yes{% else %}DHCP=yes{% endif %}

[DHCPv4]
ClientIdentifier=mac
UseDomains=yes
