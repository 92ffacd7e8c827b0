-- ARGV: present. Answers it.
return now()
