-- the company that everything is asked for; without the option the first one
company as (
  select c.id, c.id::text as key, c.parent_path, split_part(c.parent_path, '/', 1) as root, c.currency_id,
         u.name as currency, u.rounding, coalesce(c.account_use_credit_limit, false) as limits
    from res_company c join res_currency u on u.id = c.currency_id
   where {{company}} is null or c.name = {{company}}
   order by c.active desc nulls last, c.id limit 1
)
